# libtenon: what every plugin links. Nothing but GLib, GModule, libm and libc may appear here.
file(GLOB TN_KERNEL_SOURCES CONFIGURE_DEPENDS "${PROJECT_SOURCE_DIR}/kernel/*/*.c")

configure_file("${PROJECT_SOURCE_DIR}/cmake/version.h.in"
  "${PROJECT_BINARY_DIR}/include/tenon/version.h" @ONLY)

if(NOT TN_KERNEL_SOURCES)
  file(WRITE "${PROJECT_BINARY_DIR}/nothing.c" "extern int tn_nothing;\nint tn_nothing;\n")
  set(TN_KERNEL_SOURCES "${PROJECT_BINARY_DIR}/nothing.c")
endif()
add_library(tenon-kernel SHARED ${TN_KERNEL_SOURCES})
add_library(Tenon::tenon ALIAS tenon-kernel)
set_target_properties(tenon-kernel PROPERTIES
  OUTPUT_NAME tenon EXPORT_NAME tenon VERSION ${PROJECT_VERSION} SOVERSION ${TENON_ABI_MAJOR}
  LINK_DEPENDS "${PROJECT_SOURCE_DIR}/kernel/libtenon.map")
target_include_directories(tenon-kernel PUBLIC
  $<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}/kernel/include>
  $<BUILD_INTERFACE:${PROJECT_BINARY_DIR}/include>
  $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}>
  PRIVATE "${PROJECT_SOURCE_DIR}/kernel")
file(RELATIVE_PATH tn_libexec_from_lib "/${CMAKE_INSTALL_LIBDIR}" "/${CMAKE_INSTALL_LIBEXECDIR}/tenon")
target_compile_definitions(tenon-kernel PRIVATE
  TN_LIBEXECDIR_FROM_LIB="${tn_libexec_from_lib}"
  TN_PLUGINDIR_FROM_LIB="tenon/plugins")
target_link_options(tenon-kernel PRIVATE
  "LINKER:--version-script=${PROJECT_SOURCE_DIR}/kernel/libtenon.map")
target_link_libraries(tenon-kernel PUBLIC PkgConfig::TN_GLIB PRIVATE tenon-flags m)

# The scanner describes one plugin file in a process of its own, so that a bad file costs that process alone.
file(GLOB TN_SCAN_SOURCES CONFIGURE_DEPENDS "${PROJECT_SOURCE_DIR}/kernel/plugin/scan/*.c")
if(TN_SCAN_SOURCES)
  # The loader's rules for descriptors, which libtenon does not export.
  list(APPEND TN_SCAN_SOURCES "${PROJECT_SOURCE_DIR}/kernel/plugin/descriptor.c")
  add_executable(tenon-scan ${TN_SCAN_SOURCES})
  target_include_directories(tenon-scan PRIVATE "${PROJECT_SOURCE_DIR}/kernel")
  target_link_libraries(tenon-scan PRIVATE tenon-flags tenon-kernel)
endif()

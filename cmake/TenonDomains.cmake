# The plugins of the tree and the domains' helper libraries: each folder with a CMakeLists.txt is one.
set(TN_IN_TREE_PLUGINS ON)

# tn_domain_library(NAME domain SOURCES file… [LINKS …] [PACKAGES …]): libtenon-<domain>.so, for the domain's own plugins
# and for strangers'. Its public headers are those of <domain>/include.
function(tn_domain_library)
  cmake_parse_arguments(D "" "NAME" "SOURCES;LINKS;PACKAGES" ${ARGN})
  set(target tenon-${D_NAME})
  set(map "${CMAKE_CURRENT_BINARY_DIR}/lib${target}.map")
  string(TOUPPER "${D_NAME}" upper)
  file(CONFIGURE OUTPUT "${map}" CONTENT
    "TENON_${upper}_${TENON_ABI_MAJOR}.${TENON_ABI_MINOR} {\nglobal:\n    tn_*;\nlocal:\n    *;\n};\n")
  add_library(${target} SHARED ${D_SOURCES})
  add_library(Tenon::${D_NAME} ALIAS ${target})
  set_target_properties(${target} PROPERTIES EXPORT_NAME ${D_NAME} VERSION ${PROJECT_VERSION}
    SOVERSION ${TENON_ABI_MAJOR} LINK_DEPENDS "${map}" INSTALL_RPATH "$ORIGIN")
  target_include_directories(${target} PRIVATE ${TN_PUBLIC_INCLUDES} "${CMAKE_CURRENT_SOURCE_DIR}")
  target_link_options(${target} PRIVATE "LINKER:--version-script=${map}")
  target_link_libraries(${target} PUBLIC Tenon::tenon PRIVATE tenon-flags m ${D_LINKS})
  foreach(package IN LISTS D_PACKAGES)
    string(MAKE_C_IDENTIFIER "TN_PKG_${package}" id)
    pkg_check_modules(${id} REQUIRED QUIET IMPORTED_TARGET GLOBAL "${package}")
    target_link_libraries(${target} PRIVATE PkgConfig::${id})
  endforeach()
  set_property(GLOBAL APPEND PROPERTY TN_DOMAIN_LIBRARIES ${target})
endfunction()

function(tn_add_folders)
  foreach(list_file IN LISTS ARGN)
    get_filename_component(folder "${list_file}" DIRECTORY)
    add_subdirectory("${folder}")
  endforeach()
endfunction()

foreach(room IN LISTS TN_DOMAINS)
  file(GLOB lists CONFIGURE_DEPENDS "${PROJECT_SOURCE_DIR}/${room}/base/CMakeLists.txt")
  tn_add_folders(${lists})
endforeach()
foreach(room IN ITEMS plugins ${TN_DOMAINS})
  file(GLOB lists CONFIGURE_DEPENDS "${PROJECT_SOURCE_DIR}/${room}/*/CMakeLists.txt")
  list(FILTER lists EXCLUDE REGEX "/base/CMakeLists.txt$")
  tn_add_folders(${lists})
endforeach()
get_property(TN_DOMAIN_LIBRARIES GLOBAL PROPERTY TN_DOMAIN_LIBRARIES)

# What `make install` puts where: libraries, the program, headers, pkg-config and CMake package files.
include(CMakePackageConfigHelpers)
set(tn_cmake_dir "${CMAKE_INSTALL_LIBDIR}/cmake/Tenon")

foreach(target IN ITEMS tenon-run)
  if(TARGET ${target})
    install(TARGETS ${target} LIBRARY DESTINATION "${CMAKE_INSTALL_LIBDIR}" NAMELINK_SKIP)
  endif()
endforeach()
install(TARGETS tenon-kernel ${TN_DOMAIN_LIBRARIES} EXPORT TenonTargets
  LIBRARY DESTINATION "${CMAKE_INSTALL_LIBDIR}")
if(TARGET tenon)
  install(TARGETS tenon RUNTIME DESTINATION "${CMAKE_INSTALL_BINDIR}")
  install(FILES "${PROJECT_SOURCE_DIR}/pipelines/cli/templates/completion.bash"
    DESTINATION "${CMAKE_INSTALL_DATADIR}/bash-completion/completions" RENAME tenon)
endif()
if(TARGET tenon-scan)
  file(RELATIVE_PATH up "/${CMAKE_INSTALL_LIBEXECDIR}/tenon" "/${CMAKE_INSTALL_LIBDIR}")
  set_target_properties(tenon-scan PROPERTIES INSTALL_RPATH "$ORIGIN/${up};$ORIGIN")
  install(TARGETS tenon-scan RUNTIME DESTINATION "${CMAKE_INSTALL_LIBEXECDIR}/tenon")
endif()

foreach(room IN ITEMS kernel plugins pipelines ${TN_DOMAINS})
  if(IS_DIRECTORY "${PROJECT_SOURCE_DIR}/${room}/include/tenon")
    install(DIRECTORY "${PROJECT_SOURCE_DIR}/${room}/include/tenon"
      DESTINATION "${CMAKE_INSTALL_INCLUDEDIR}" FILES_MATCHING PATTERN "*.h")
  endif()
endforeach()
install(FILES "${PROJECT_BINARY_DIR}/include/tenon/version.h" DESTINATION "${CMAKE_INSTALL_INCLUDEDIR}/tenon")

# The file finds its prefix from where it lies, so that an installed tree may be moved.
file(RELATIVE_PATH TN_PC_TO_PREFIX "/${CMAKE_INSTALL_LIBDIR}/pkgconfig" "/")
string(REGEX REPLACE "/$" "" TN_PC_TO_PREFIX "${TN_PC_TO_PREFIX}")
configure_file("${PROJECT_SOURCE_DIR}/cmake/tenon.pc.in" "${PROJECT_BINARY_DIR}/tenon.pc" @ONLY)
install(FILES "${PROJECT_BINARY_DIR}/tenon.pc" DESTINATION "${CMAKE_INSTALL_LIBDIR}/pkgconfig")

install(EXPORT TenonTargets NAMESPACE Tenon:: DESTINATION "${tn_cmake_dir}")
configure_package_config_file("${PROJECT_SOURCE_DIR}/cmake/TenonConfig.cmake.in"
  "${PROJECT_BINARY_DIR}/TenonConfig.cmake" INSTALL_DESTINATION "${tn_cmake_dir}"
  PATH_VARS CMAKE_INSTALL_LIBDIR CMAKE_INSTALL_INCLUDEDIR)
# While the ABI's major is 0 only an equal minor fits.
write_basic_package_version_file("${PROJECT_BINARY_DIR}/TenonConfigVersion.cmake"
  COMPATIBILITY SameMinorVersion)
install(FILES "${PROJECT_BINARY_DIR}/TenonConfig.cmake" "${PROJECT_BINARY_DIR}/TenonConfigVersion.cmake"
  "${PROJECT_SOURCE_DIR}/cmake/TenonPlugin.cmake" "${PROJECT_SOURCE_DIR}/cmake/TenonEmbed.cmake"
  DESTINATION "${tn_cmake_dir}")

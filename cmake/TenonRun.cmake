# libtenon-run (configs, stages, runs) and the program.
file(GLOB TN_RUN_SOURCES CONFIGURE_DEPENDS
  "${PROJECT_SOURCE_DIR}/pipelines/run/*.c" "${PROJECT_SOURCE_DIR}/pipelines/stage/*.c"
  "${PROJECT_SOURCE_DIR}/pipelines/wire/*.c" "${PROJECT_SOURCE_DIR}/pipelines/host/*.c")
file(GLOB_RECURSE TN_RUN_LUA CONFIGURE_DEPENDS "${PROJECT_SOURCE_DIR}/pipelines/lua/*.lua")
file(GLOB TN_CLI_SOURCES CONFIGURE_DEPENDS "${PROJECT_SOURCE_DIR}/pipelines/cli/*.c")

if(TN_RUN_SOURCES AND NOT TN_RUN_DEPS_FOUND)
  message(FATAL_ERROR "pkg-config does not know lua5.4 or jansson; Debian: liblua5.4-dev libjansson-dev "
    "(`make deps` installs what is missing)")
endif()

if(TN_RUN_SOURCES)
  # "run-lua.h" declares tn_lua_run_modules, a table of {module name, bytes, size, path} with every file below pipelines/lua.
  tn_embed_lua(run TN_RUN_EMBEDDED FILES ${TN_RUN_LUA} BASE "${PROJECT_SOURCE_DIR}/pipelines/lua"
    TABLE tn_lua_run_modules)
  add_library(tenon-run SHARED ${TN_RUN_SOURCES} "${TN_RUN_EMBEDDED}")
  set_target_properties(tenon-run PROPERTIES VERSION ${PROJECT_VERSION} SOVERSION ${TENON_ABI_MAJOR}
    INSTALL_RPATH "$ORIGIN")
  target_include_directories(tenon-run PUBLIC ${TN_PUBLIC_INCLUDES}
    PRIVATE "${PROJECT_SOURCE_DIR}/pipelines" "${CMAKE_CURRENT_BINARY_DIR}/run-embedded")
  target_link_libraries(tenon-run PUBLIC tenon-kernel PRIVATE tenon-flags PkgConfig::TN_RUN_DEPS m)
endif()

if(TN_RUN_SOURCES AND TN_CLI_SOURCES)
  add_executable(tenon ${TN_CLI_SOURCES})
  set_target_properties(tenon PROPERTIES INSTALL_RPATH "$ORIGIN/../${CMAKE_INSTALL_LIBDIR}")
  target_include_directories(tenon PRIVATE "${PROJECT_SOURCE_DIR}/pipelines")
  target_link_libraries(tenon PRIVATE tenon-flags tenon-run tenon-kernel PkgConfig::TN_RUN_DEPS m)
endif()

# All that a user runs, without the tests.
get_property(tn_plugin_targets GLOBAL PROPERTY TN_PLUGIN_TARGETS)
add_custom_target(program DEPENDS tenon-kernel ${tn_plugin_targets})
foreach(target IN ITEMS tenon tenon-scan)
  if(TARGET ${target})
    add_dependencies(program ${target})
  endif()
endforeach()

# libtenon-run (configs, stages, runs) and the program.
file(GLOB TN_RUN_SOURCES CONFIGURE_DEPENDS
  "${PROJECT_SOURCE_DIR}/pipelines/run/*.c" "${PROJECT_SOURCE_DIR}/pipelines/stage/*.c"
  "${PROJECT_SOURCE_DIR}/pipelines/wire/*.c" "${PROJECT_SOURCE_DIR}/pipelines/host/*.c")
file(GLOB_RECURSE TN_RUN_LUA CONFIGURE_DEPENDS "${PROJECT_SOURCE_DIR}/pipelines/lua/*.lua")
file(GLOB TN_RUN_MODELS CONFIGURE_DEPENDS "${PROJECT_SOURCE_DIR}/configs/models/*.lua")
file(GLOB TN_CLI_SOURCES CONFIGURE_DEPENDS "${PROJECT_SOURCE_DIR}/pipelines/cli/*.c")

if(TN_RUN_SOURCES AND NOT TN_RUN_DEPS_FOUND)
  message(FATAL_ERROR "pkg-config does not know lua5.4 or jansson; Debian: liblua5.4-dev libjansson-dev "
    "(`make deps` installs what is missing)")
endif()

# Of ZeroMQ the header alone: the library is opened when the first wire is made (pipelines/wire/zmq.c).
if(TN_RUN_SOURCES)
  find_path(TN_ZMQ_INCLUDE zmq.h)
  if(NOT TN_ZMQ_INCLUDE)
    message(FATAL_ERROR "zmq.h is missing; Debian: libzmq3-dev (`make deps` installs what is missing)")
  endif()
endif()

if(TN_RUN_SOURCES)
  # "run-lua.h" declares tn_lua_run_modules, a table of {module name, bytes, size, path} with every file below
  # pipelines/lua, and configs/models/NAME.lua as tenon.models.NAME: benchmarks and tests use the models that configs do.
  tn_embed_lua(run TN_RUN_EMBEDDED FILES ${TN_RUN_LUA} ${TN_RUN_MODELS}
    ROOTS "${PROJECT_SOURCE_DIR}/pipelines/lua=" "${PROJECT_SOURCE_DIR}/configs=tenon/" TABLE tn_lua_run_modules)
  add_library(tenon-run SHARED ${TN_RUN_SOURCES} "${TN_RUN_EMBEDDED}")
  set_target_properties(tenon-run PROPERTIES VERSION ${PROJECT_VERSION} SOVERSION ${TENON_ABI_MAJOR}
    INSTALL_RPATH "$ORIGIN")
  target_include_directories(tenon-run PUBLIC ${TN_PUBLIC_INCLUDES}
    PRIVATE "${PROJECT_SOURCE_DIR}/pipelines" "${CMAKE_CURRENT_BINARY_DIR}/run-embedded")
  target_link_libraries(tenon-run PUBLIC tenon-kernel PRIVATE tenon-flags PkgConfig::TN_RUN_DEPS m)
endif()

if(TN_RUN_SOURCES AND TN_CLI_SOURCES)
  # Every verb-NAME.c defines tn_verb_NAME; the table of them is written here.
  set(table "${CMAKE_CURRENT_BINARY_DIR}/cli-verbs.c")
  set(externs "")
  set(rows "")
  foreach(file IN LISTS TN_CLI_SOURCES)
    get_filename_component(name "${file}" NAME_WE)
    if(name MATCHES "^verb-")
      string(REGEX REPLACE "[^A-Za-z0-9]" "_" symbol "tn_${name}")
      string(APPEND externs "extern const TnVerb ${symbol};\n")
      string(APPEND rows "    &${symbol},\n")
    endif()
  endforeach()
  file(CONFIGURE OUTPUT "${table}" CONTENT "/* Generated from the names of pipelines/cli/verb-*.c; do not edit. */
#include \"cli/cli.h\"\n\n${externs}\nconst TnVerb *const tn_cli_verbs[] = {\n${rows}    NULL,\n};\n" @ONLY)

  # What `tenon new` and `tenon completion` write: the files of templates/, as bytes.
  set(templates "${PROJECT_SOURCE_DIR}/pipelines/cli/templates")
  file(GLOB_RECURSE template_files CONFIGURE_DEPENDS RELATIVE "${templates}" "${templates}/*")
  set(names)
  set(files)
  foreach(file IN LISTS template_files)
    string(REGEX REPLACE "[^A-Za-z0-9]" "_" name "${file}")
    list(APPEND names "${name}")
    list(APPEND files "${templates}/${file}")
  endforeach()
  list(JOIN names "|" joined_names)
  list(JOIN files "|" joined_files)
  list(JOIN template_files "|" joined_modules)
  set(embedded "${CMAKE_CURRENT_BINARY_DIR}/cli-embedded")
  file(MAKE_DIRECTORY "${embedded}")
  add_custom_command(
    OUTPUT "${embedded}/cli-templates.c"
    BYPRODUCTS "${embedded}/cli-templates.h"
    COMMAND ${CMAKE_COMMAND} "-DOUT=${embedded}/cli-templates.c" "-DHEADER=${embedded}/cli-templates.h"
      "-DPREFIX=tn_cli_template" "-DFILES=${joined_files}" "-DNAMES=${joined_names}" "-DMODULES=${joined_modules}"
      "-DPATHS=${joined_modules}" "-DTABLE=tn_cli_templates" -P "${TENON_CMAKE_DIR}/TenonEmbed.cmake"
    DEPENDS ${files} "${TENON_CMAKE_DIR}/TenonEmbed.cmake"
    COMMENT "Embedding the templates of tenon new"
    VERBATIM)

  add_executable(tenon ${TN_CLI_SOURCES} "${table}" "${embedded}/cli-templates.c")
  target_include_directories(tenon PRIVATE "${embedded}")
  set_target_properties(tenon PROPERTIES INSTALL_RPATH "$ORIGIN/../${CMAKE_INSTALL_LIBDIR};$ORIGIN")
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

# tn_plugin(): the one way to build a plugin, in the tree and outside it.
#
#   tn_plugin(NAME name              the library is libtn_<name>.so and shows tn_plugin_<name>_desc alone
#             [SOURCES file…]        C files; default: every *.c of the folder
#             [PACKAGES package…]    pkg-config names, compiled and linked with; where one is absent the plugin is
#                                    skipped with a message
#             [OPENS package…]       the same, but only their headers are used: the plugin opens the library itself
#                                    when it is initialised
#             [LUA file…]            Lua modules, embedded as bytes: "<name>-lua.h" declares tn_lua_<name>_<file>
#                                    (a '\0' follows) and the constant tn_lua_<name>_<file>_size (not counting it)
#             [LINKS target…]        Tenon::tenon (always linked) and the helper library of the plugin's own domain
#             [OUTPUT folder]        where the library is built, below the build tree; default: plugins
#             [NO_INSTALL])          leave it out of `make install`
#
# The target is called tn_<name>. In a symbol, '-' in a name becomes '_'.
include_guard(GLOBAL)

set(TENON_CMAKE_DIR "${CMAKE_CURRENT_LIST_DIR}")
set(TENON_HELPER_LIBRARIES Tenon::dataio Tenon::automl Tenon::rl Tenon::vis)

# Sets out_var to the generated C file of embedded Lua and adds the rule that makes it. ROOTS folder=prefix…: a file below
# one of these folders is the module of its path from there, behind the prefix; other files have their own name.
function(tn_embed_lua target_name out_var)
  cmake_parse_arguments(E "" "TABLE" "FILES;ROOTS" ${ARGN})
  set(dir "${CMAKE_CURRENT_BINARY_DIR}/${target_name}-embedded")
  file(MAKE_DIRECTORY "${dir}")
  set(names)
  set(modules)
  set(files)
  set(paths)
  foreach(file IN LISTS E_FILES)
    get_filename_component(file "${file}" ABSOLUTE BASE_DIR "${CMAKE_CURRENT_SOURCE_DIR}")
    get_filename_component(name "${file}" NAME)
    foreach(root IN LISTS E_ROOTS)
      string(REGEX MATCH "^(.*)=(.*)$" root "${root}")
      set(prefix "${CMAKE_MATCH_2}")
      cmake_path(IS_PREFIX CMAKE_MATCH_1 "${file}" below)
      if(below)
        file(RELATIVE_PATH name "${CMAKE_MATCH_1}" "${file}")
        string(PREPEND name "${prefix}")
      endif()
    endforeach()
    string(REGEX REPLACE "\\.lua$" "" name "${name}")
    string(REPLACE "/" "." module "${name}")
    string(REGEX REPLACE "\\.init$" "" module "${module}")
    string(REGEX REPLACE "[^A-Za-z0-9]" "_" name "${name}")
    list(APPEND names "${name}")
    list(APPEND modules "${module}")
    list(APPEND files "${file}")
    file(RELATIVE_PATH path "${PROJECT_SOURCE_DIR}" "${file}")
    list(APPEND paths "${path}")
  endforeach()
  string(REGEX REPLACE "[^A-Za-z0-9]" "_" prefix "tn_lua_${target_name}")
  string(REPLACE ";" "|" names "${names}")
  string(REPLACE ";" "|" modules "${modules}")
  string(REPLACE ";" "|" joined "${files}")
  string(REPLACE ";" "|" paths "${paths}")
  add_custom_command(
    OUTPUT "${dir}/${target_name}-lua.c"
    BYPRODUCTS "${dir}/${target_name}-lua.h"
    COMMAND ${CMAKE_COMMAND} "-DOUT=${dir}/${target_name}-lua.c" "-DHEADER=${dir}/${target_name}-lua.h"
      "-DPREFIX=${prefix}" "-DFILES=${joined}" "-DNAMES=${names}" "-DMODULES=${modules}"
      "-DPATHS=${paths}" "-DTABLE=${E_TABLE}" -P "${TENON_CMAKE_DIR}/TenonEmbed.cmake"
    DEPENDS ${files} "${TENON_CMAKE_DIR}/TenonEmbed.cmake"
    COMMENT "Embedding the Lua modules of ${target_name}"
    VERBATIM)
  set(${out_var} "${dir}/${target_name}-lua.c" PARENT_SCOPE)
endfunction()

# A plugin links libtenon and at most its own domain's helper library; anything else is an error here, not at run time.
function(tn_check_links name)
  get_filename_component(domain "${CMAKE_CURRENT_SOURCE_DIR}" DIRECTORY)
  get_filename_component(domain "${domain}" NAME)
  set(helpers 0)
  foreach(link IN LISTS ARGN)
    if(link STREQUAL "Tenon::tenon")
      continue()
    endif()
    if(NOT link IN_LIST TENON_HELPER_LIBRARIES)
      message(FATAL_ERROR "plugin '${name}' must not link '${link}': a plugin links Tenon::tenon and the helper "
        "library of its own domain, nothing else of Tenon; vendor libraries are named in PACKAGES or OPENS")
    endif()
    math(EXPR helpers "${helpers} + 1")
    if(TN_FIXTURE_PLUGINS)
      continue()
    endif()
    if(helpers GREATER 1 OR (TN_IN_TREE_PLUGINS AND NOT link STREQUAL "Tenon::${domain}"))
      message(FATAL_ERROR "plugin '${name}' in '${domain}' must not link '${link}': it may link the helper library "
        "of its own domain alone")
    endif()
  endforeach()
endfunction()

function(tn_plugin)
  cmake_parse_arguments(P "NO_INSTALL" "NAME;OUTPUT" "SOURCES;PACKAGES;OPENS;LUA;LINKS" ${ARGN})
  if(NOT P_NAME)
    message(FATAL_ERROR "tn_plugin needs a NAME")
  endif()
  if(NOT P_SOURCES)
    file(GLOB P_SOURCES CONFIGURE_DEPENDS "${CMAKE_CURRENT_SOURCE_DIR}/*.c")
  endif()
  if(P_UNPARSED_ARGUMENTS)
    message(FATAL_ERROR "tn_plugin(${P_NAME}): unknown arguments: ${P_UNPARSED_ARGUMENTS}")
  endif()
  if(NOT P_NAME MATCHES "^[a-z][a-z0-9_-]*$")
    message(FATAL_ERROR "tn_plugin: '${P_NAME}' is no plugin name: lower-case letters, digits, '-' and '_'")
  endif()
  tn_check_links(${P_NAME} ${P_LINKS})

  find_package(PkgConfig REQUIRED QUIET)
  set(missing)
  foreach(package IN LISTS P_PACKAGES P_OPENS)
    string(MAKE_C_IDENTIFIER "TN_PKG_${package}" id)
    pkg_check_modules(${id} QUIET IMPORTED_TARGET GLOBAL "${package}")
    if(NOT ${id}_FOUND)
      list(APPEND missing "${package}")
    endif()
  endforeach()
  if(missing)
    list(JOIN missing ", " missing)
    message(STATUS "Plugin ${P_NAME} is skipped: pkg-config does not know ${missing}")
    return()
  endif()

  string(REGEX REPLACE "[^A-Za-z0-9]" "_" symbol "${P_NAME}")
  set(map "${CMAKE_CURRENT_BINARY_DIR}/tn_${P_NAME}.map")
  file(CONFIGURE OUTPUT "${map}" CONTENT "{\nglobal:\n    tn_plugin_${symbol}_desc;\nlocal:\n    *;\n};\n")

  set(target tn_${P_NAME})
  add_library(${target} MODULE ${P_SOURCES})
  if(P_LUA)
    tn_embed_lua(${P_NAME} lua_source FILES ${P_LUA})
    target_sources(${target} PRIVATE "${lua_source}")
    target_include_directories(${target} PRIVATE "${CMAKE_CURRENT_BINARY_DIR}/${P_NAME}-embedded")
  endif()
  if(NOT P_OUTPUT)
    set(P_OUTPUT plugins)
    if(TN_FIXTURE_PLUGINS)
      set(P_OUTPUT tests/plugins)
    endif()
  endif()
  get_filename_component(P_OUTPUT "${P_OUTPUT}" ABSOLUTE BASE_DIR "${CMAKE_BINARY_DIR}")
  set(rpath "$ORIGIN/.." "$ORIGIN/../.." ${TENON_LIBDIR})
  set_target_properties(${target} PROPERTIES
    PREFIX lib SUFFIX .so C_VISIBILITY_PRESET hidden C_STANDARD 17 C_STANDARD_REQUIRED ON
    LIBRARY_OUTPUT_DIRECTORY "${P_OUTPUT}" LINK_DEPENDS "${map}"
    BUILD_WITH_INSTALL_RPATH ON INSTALL_RPATH "${rpath}")
  target_include_directories(${target} PRIVATE "${CMAKE_CURRENT_SOURCE_DIR}" ${TN_PUBLIC_INCLUDES})
  target_compile_definitions(${target} PRIVATE "TN_PLUGIN_VERSION=\"${PROJECT_VERSION}\"")
  target_link_options(${target} PRIVATE "LINKER:--version-script=${map}")
  target_link_libraries(${target} PRIVATE Tenon::tenon ${P_LINKS} m)
  if(TARGET tenon-flags)
    target_link_libraries(${target} PRIVATE tenon-flags)
  else()
    target_compile_options(${target} PRIVATE -Wall -Wextra -Wno-missing-field-initializers -fno-math-errno -ffp-contract=off -D_GNU_SOURCE)
    target_link_options(${target} PRIVATE -Wl,-z,defs -Wl,--as-needed)
  endif()
  foreach(package IN LISTS P_PACKAGES)
    string(MAKE_C_IDENTIFIER "TN_PKG_${package}" id)
    target_link_libraries(${target} PRIVATE PkgConfig::${id})
  endforeach()
  foreach(package IN LISTS P_OPENS)
    string(MAKE_C_IDENTIFIER "TN_PKG_${package}" id)
    target_include_directories(${target} SYSTEM PRIVATE ${${id}_INCLUDE_DIRS})
    target_compile_options(${target} PRIVATE ${${id}_CFLAGS_OTHER})
  endforeach()
  if(NOT TN_FIXTURE_PLUGINS)
    set_property(GLOBAL APPEND PROPERTY TN_PLUGIN_TARGETS ${target})
  endif()
  if(NOT P_NO_INSTALL AND NOT TN_FIXTURE_PLUGINS)
    set(libdir "${CMAKE_INSTALL_LIBDIR}")
    if(NOT libdir)
      set(libdir lib)
    endif()
    install(TARGETS ${target} LIBRARY DESTINATION "${libdir}/tenon/plugins")
  endif()
endfunction()

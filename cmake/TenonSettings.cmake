# Compiler, warnings, sanitizers and output folders that hold for everything in the tree.
include(GNUInstallDirs)

option(TN_WERROR "Treat warnings as errors" OFF)
option(TN_FUZZ "Build the fuzz targets (clang only)" OFF)
option(TN_EMULATE_TILES "Run AMX's kernels by functions in place of its instructions, for tests" OFF)
set(TN_SANITIZE "" CACHE STRING "Sanitizers: address,undefined or thread")

# Debian's default is lib/<triplet>; plugins and documentation say PREFIX/lib. Packagers may still set it.
if(NOT TN_LIBDIR_SET)
  set(CMAKE_INSTALL_LIBDIR lib CACHE STRING "Folder of libraries under the prefix" FORCE)
  set(TN_LIBDIR_SET ON CACHE INTERNAL "")
endif()

if(NOT CMAKE_BUILD_TYPE)
  set(CMAKE_BUILD_TYPE Release CACHE STRING "Release, RelWithDebInfo or Debug" FORCE)
endif()
set(CMAKE_C_FLAGS_RELEASE "-O3 -g1 -DNDEBUG")
set(CMAKE_C_STANDARD 17)
set(CMAKE_C_STANDARD_REQUIRED ON)
set(CMAKE_C_EXTENSIONS ON)
set(CMAKE_C_VISIBILITY_PRESET hidden)
set(CMAKE_POSITION_INDEPENDENT_CODE ON)
# A run path that is rewritten when it is installed has an empty entry at its end, and that is the working directory: so what
# is built has the installed one, which says where things lie in a build tree too.
set(CMAKE_BUILD_WITH_INSTALL_RPATH ON)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)

set(CMAKE_LIBRARY_OUTPUT_DIRECTORY "${PROJECT_BINARY_DIR}")
set(CMAKE_RUNTIME_OUTPUT_DIRECTORY "${PROJECT_BINARY_DIR}")

# What is compiled with sanitizers or warnings is ours alone; neither is passed on to those who link the libraries.
add_library(tenon-flags INTERFACE)
# Rows of tables leave out what is zero at their end, so that warning is off.
target_compile_options(tenon-flags INTERFACE
  -Wall -Wextra -Wno-missing-field-initializers -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wpointer-arith -Wvla
  -fno-math-errno -ffp-contract=off -fno-common -D_GNU_SOURCE
  $<$<BOOL:${TN_WERROR}>:-Werror>
  # A loop that was marked for vectors and got none is no mistake.
  $<$<C_COMPILER_ID:Clang>:-Wno-pass-failed>
  # clang takes a g_autoptr that is only held for unused; gcc finds the real ones.
  $<$<C_COMPILER_ID:Clang>:-Wno-unused-variable>)
target_compile_definitions(tenon-flags INTERFACE
  GLIB_VERSION_MIN_REQUIRED=GLIB_VERSION_2_74 GLIB_VERSION_MAX_ALLOWED=GLIB_VERSION_2_74)
if(TN_FUZZ)
  target_compile_options(tenon-flags INTERFACE -fsanitize=fuzzer-no-link)
endif()
if(TN_SANITIZE)
  target_compile_options(tenon-flags INTERFACE -fsanitize=${TN_SANITIZE}
    -fno-sanitize-recover=all -fno-omit-frame-pointer -g -O1)
  target_link_options(tenon-flags INTERFACE -fsanitize=${TN_SANITIZE})
endif()
# Sanitizers of clang resolve their symbols in the program, so that -z,defs would refuse every library.
if(NOT (TN_SANITIZE AND CMAKE_C_COMPILER_ID MATCHES "Clang") AND NOT TN_FUZZ)
  target_link_options(tenon-flags INTERFACE
    $<$<STREQUAL:$<TARGET_PROPERTY:TYPE>,SHARED_LIBRARY>:-Wl,-z,defs>
    $<$<STREQUAL:$<TARGET_PROPERTY:TYPE>,MODULE_LIBRARY>:-Wl,-z,defs>)
endif()
target_link_options(tenon-flags INTERFACE -Wl,-z,relro,-z,now -Wl,--as-needed)

# Every domain's public headers are seen by everything in the tree.
set(TN_DOMAINS dataio automl rl vis)
set(TN_PUBLIC_INCLUDES)
foreach(room IN ITEMS plugins pipelines ${TN_DOMAINS})
  list(APPEND TN_PUBLIC_INCLUDES "${PROJECT_SOURCE_DIR}/${room}/include")
endforeach()

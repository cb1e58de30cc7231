# Writes files into C as byte arrays: cmake -DOUT=… -DHEADER=… -DPREFIX=… -DFILES=a|b -DNAMES=x|y -P TenonEmbed.cmake
#
# For each file the header declares `const unsigned char PREFIX_name[]` with its full bound (a terminating zero is
# added) and an enumeration constant `PREFIX_name_size` (without the zero), so that both may stand in a static const
# table. With TABLE=symbol the two also hold a table of {module name, bytes, size, path in the source tree}, from MODULES
# and PATHS.
string(REPLACE "|" ";" FILES "${FILES}")
string(REPLACE "|" ";" NAMES "${NAMES}")
string(REPLACE "|" ";" MODULES "${MODULES}")
string(REPLACE "|" ";" PATHS "${PATHS}")

get_filename_component(header_name "${HEADER}" NAME)
string(MAKE_C_IDENTIFIER "TN_EMBEDDED_${header_name}" guard)
set(source "/* Generated from files of the source tree; do not edit. */\n#include \"${header_name}\"\n")
set(header "/* Generated from files of the source tree; do not edit. */\n#ifndef ${guard}\n#define ${guard}\n")
string(APPEND header "\n#include <stddef.h>\n")
set(rows "")
set(count 0)
foreach(file name IN ZIP_LISTS FILES NAMES)
  file(SIZE "${file}" size)
  file(READ "${file}" bytes HEX)
  string(REGEX REPLACE "(..)" "0x\\1," bytes "${bytes}")
  string(REGEX REPLACE "(................................................................................)" "\\1\n"
    bytes "${bytes}")
  math(EXPR bound "${size} + 1")
  set(symbol "${PREFIX}_${name}")
  string(APPEND header "\nextern const unsigned char ${symbol}[${bound}];\nenum { ${symbol}_size = ${size} };\n")
  string(APPEND source "\nconst unsigned char ${symbol}[${bound}] = {\n${bytes}0x00};\n")
  if(TABLE)
    list(GET MODULES ${count} module)
    list(GET PATHS ${count} path)
    string(APPEND rows "    {\"${module}\", ${symbol}, ${symbol}_size, \"${path}\"},\n")
  endif()
  math(EXPR count "${count} + 1")
endforeach()
if(TABLE)
  string(APPEND header "\n/* Every embedded module; a row with a NULL name ends the table. */\n"
    "extern const struct ${TABLE}_row {\n    const char *name;\n    const unsigned char *bytes;\n"
    "    size_t size;\n    const char *path;\n} ${TABLE}[${count} + 1];\n")
  string(APPEND source "\nconst struct ${TABLE}_row ${TABLE}[${count} + 1] = {\n${rows}    {NULL, NULL, 0, NULL},\n};\n")
endif()
string(APPEND header "\n#endif\n")

file(WRITE "${OUT}" "${source}")
# An unchanged header keeps its time, so that editing a body without changing its length compiles one file.
file(CONFIGURE OUTPUT "${HEADER}" CONTENT "${header}" @ONLY)

/* version.c: the version of the program that libtenon was built as. */
#include <tenon/base.h>
#include <tenon/version.h>

const char *
tn_version(void)
{
    return TN_VERSION;
}

/* fuzz_config.c: any text as a config: a tree, or faults that each name the file; within the limits
 * of memory and time. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <tenon/host.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

int
LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    g_autofree char *text = g_strndup((const char *)bytes, size);
    TnHostOptions options = { .text = text, .memory_limit = 32u << 20, .load_seconds = 0.5 };
    g_autoptr(TnFaults) faults = tn_faults_new();
    g_autoptr(TnHost) host = tn_host_new(&options, NULL);
    if (!host)
        abort();
    TnSpec *root = tn_host_load(host, "fuzz.lua", 0, NULL, faults);
    if (!root != (tn_faults_count(faults) > 0))
        abort();
    for (gsize i = 0; i < tn_faults_count(faults); i++)
        if (!strstr(tn_faults_text(faults, i), "fuzz.lua"))
            abort();
    if (root)
        tn_spec_unref(root);
    return 0;
}

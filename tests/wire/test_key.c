/* test_key.c: keys by name: what a name is, the files of a pair and who may read them, and files
 * that are damaged, missing, links or open to others. */
#include <sys/stat.h>
#include <unistd.h>

#include <glib/gstdio.h>

#include <tenon/status.h>

#include "tn_test.h"
#include "wire/key.h"
#include "wire/zmq.h"

static char *config_home;

/* Before GLib has looked where the user's files are; a child is told by who runs it. */
static void
use_own_folder(void)
{
    if (g_getenv("TEST_KEY_CHILD"))
        return;
    config_home = tn_test_tmp_path("config");
    g_setenv("XDG_CONFIG_HOME", config_home, TRUE);
}

static char *
file_of(const char *name, const char *ending)
{
    g_autofree char *folder = tn_key_folder();
    return g_strconcat(folder, "/", name, ending, NULL);
}

static guint
mode_of(const char *path)
{
    struct stat info;
    TN_REQUIRE(lstat(path, &info) == 0);
    return info.st_mode & 07777;
}

/* A new pair; the test ends if there is none. */
static TnKey
make(const char *name)
{
    TnKey key = { 0 };
    g_autoptr(GError) error = NULL;
    tn_key_make(name, &key, &error);
    TN_REQUIRE_NO_ERROR(error);
    return key;
}

static void
names(void)
{
    g_autofree char *longest = g_strnfill(63, 'x'), *longer = g_strnfill(64, 'x');
    const char *const good[] = { "a", "cluster", "A.b_c-9", "_", "-x", "a.key", longest };
    const char *const bad[] = {
        "", ".", "..", ".a", "a/b", "../a", "a b", "a\nb", "ä", "a*", longer
    };
    for (guint i = 0; i < G_N_ELEMENTS(good); i++) {
        g_autoptr(GError) error = NULL;
        TN_ASSERT(tn_key_check_name(good[i], &error));
        TN_ASSERT_NO_ERROR(error);
    }
    for (guint i = 0; i < G_N_ELEMENTS(bad); i++) {
        g_autoptr(GError) error = NULL;
        TnKey key = { .name = "before" };
        TN_ASSERT(!tn_key_check_name(bad[i], &error));
        TN_ASSERT_ERROR(&error, TN_ERROR, TN_ERROR_USAGE, bad[i], "1 to 63", "cluster");
        TN_ASSERT(!tn_key_make(bad[i], &key, &error));
        TN_ASSERT_ERROR(&error, TN_ERROR, TN_ERROR_USAGE, "1 to 63");
        TN_ASSERT(!tn_key_load(bad[i], &key, &error));
        TN_ASSERT_ERROR(&error, TN_ERROR, TN_ERROR_USAGE, "1 to 63");
        TN_ASSERT_CMPSTR(key.name, "before");
    }
}

static void
z85(void)
{
    /* The example of RFC 32, four times. */
    static const guint8 wanted[8] = { 0x86, 0x4f, 0xd2, 0x6f, 0xb5, 0x59, 0xf7, 0x5b };
    guint8 bytes[32];
    TN_ASSERT(tn_key_bytes("HelloWorldHelloWorldHelloWorldHelloWorld", bytes));
    for (guint i = 0; i < 32; i += 8)
        TN_ASSERT_BYTES(bytes + i, wanted, 8);
    TN_ASSERT(!tn_key_bytes("HelloWorldHelloWorldHelloWorldHelloWorl", bytes));
    TN_ASSERT(!tn_key_bytes("HelloWorldHelloWorldHelloWorldHelloWorldd", bytes));
    TN_ASSERT(!tn_key_bytes("HelloWorldHelloWorldHelloWorldHelloWor\"d", bytes));
    TN_ASSERT(!tn_key_bytes("#####WorldHelloWorldHelloWorldHelloWorld", bytes));
    TN_ASSERT(!tn_key_bytes("", bytes));
}

static void
made_is_loaded(void)
{
    const TnKey made = make("round");
    TnKey loaded = { 0 }, public = { 0 };
    g_autoptr(GError) error = NULL;
    TN_ASSERT_CMPSTR(made.name, "round");
    TN_ASSERT_CMPUINT(strlen(made.public_key), ==, 40);
    TN_ASSERT_CMPUINT(strlen(made.secret_key), ==, 40);
    TN_ASSERT(tn_key_load("round", &loaded, &error));
    TN_ASSERT_NO_ERROR(error);
    TN_ASSERT_CMPSTR(loaded.name, made.name);
    TN_ASSERT_CMPSTR(loaded.public_key, made.public_key);
    TN_ASSERT_CMPSTR(loaded.secret_key, made.secret_key);
    TN_ASSERT(tn_key_load_public("round", &public, &error));
    TN_ASSERT_NO_ERROR(error);
    TN_ASSERT_CMPSTR(public.public_key, made.public_key);
    TN_ASSERT_CMPSTR(public.secret_key, "");
    const TnKey other = make("round2");
    TN_ASSERT(strcmp(other.secret_key, made.secret_key) != 0);
    tn_key_clear(&loaded);
    const char zeros[sizeof loaded.secret_key] = { 0 };
    TN_ASSERT_BYTES(loaded.secret_key, zeros, sizeof zeros);
}

static void
files_are_closed_to_others(void)
{
    const mode_t before = umask(0);
    const TnKey key = make("closed");
    umask(before);
    g_autofree char *folder = tn_key_folder();
    g_autofree char *secret = file_of("closed", ".key"), *public = file_of("closed", ".pub");
    g_autofree char *secret_text = tn_test_read_file(secret, NULL);
    g_autofree char *public_text = tn_test_read_file(public, NULL);
    TN_ASSERT(g_str_has_prefix(folder, config_home));
    TN_ASSERT_CMPUINT(mode_of(folder), ==, 0700);
    TN_ASSERT_CMPUINT(mode_of(secret), ==, 0600);
    TN_ASSERT(g_str_has_prefix(secret_text, "# "));
    TN_ASSERT(g_str_has_prefix(public_text, "# "));
    TN_ASSERT_CONTAINS(secret_text, key.secret_key);
    TN_ASSERT_CONTAINS(secret_text, key.public_key);
    TN_ASSERT_CONTAINS(public_text, key.public_key);
    TN_ASSERT(strstr(public_text, key.secret_key) == NULL);
}

/* A folder that was open is closed before a secret is in it. */
static void
an_open_folder_is_closed(void)
{
    make("first");
    g_autofree char *folder = tn_key_folder();
    TN_REQUIRE(g_chmod(folder, 0755) == 0);
    make("second");
    TN_ASSERT_CMPUINT(mode_of(folder), ==, 0700);
}

static void
names_are_listed(void)
{
    make("list-b");
    make("list-a");
    g_autofree char *stray = file_of("stray", ".txt"), *hidden = file_of(".hidden", ".key");
    g_autofree char *lone = file_of("list-lone", ".pub");
    tn_test_write_file(stray, "x", -1);
    tn_test_write_file(hidden, "x", -1);
    tn_test_write_file(lone, "x", -1);
    g_autoptr(GPtrArray) all = tn_key_names();
    g_autoptr(GString) text = g_string_new(NULL);
    for (guint i = 0; i < all->len; i++)
        g_string_append_printf(text, "%s ", (const char *)all->pdata[i]);
    TN_ASSERT_CONTAINS(text->str, "list-a list-b list-lone ");
    TN_ASSERT(strstr(text->str, "stray") == NULL && strstr(text->str, "hidden") == NULL);
}

static void
existing_names_stay(void)
{
    const TnKey first = make("twice");
    TnKey key = { .name = "before" };
    g_autoptr(GError) error = NULL;
    g_autofree char *secret = file_of("twice", ".key");
    TN_ASSERT(!tn_key_make("twice", &key, &error));
    TN_ASSERT_ERROR(&error, TN_ERROR, TN_ERROR_USAGE, secret, "there already");
    TN_ASSERT_CMPSTR(key.name, "before");
    TN_ASSERT(tn_key_load("twice", &key, &error));
    TN_ASSERT_CMPSTR(key.secret_key, first.secret_key);
    /* The public file alone keeps its name too, and no secret is left beside it. */
    TN_REQUIRE(g_unlink(secret) == 0);
    g_autofree char *public = file_of("twice", ".pub");
    TN_ASSERT(!tn_key_make("twice", &key, &error));
    TN_ASSERT_ERROR(&error, TN_ERROR, TN_ERROR_USAGE, public, "there already");
    TN_ASSERT(!g_file_test(secret, G_FILE_TEST_EXISTS));
}

static void
missing(void)
{
    make("harbour");
    TnKey key;
    g_autoptr(GError) error = NULL;
    g_autofree char *path = file_of("harbuor", ".key");
    TN_ASSERT(!tn_key_load("harbuor", &key, &error));
    TN_ASSERT_ERROR(&error, TN_ERROR, TN_ERROR_NOT_FOUND, path, "`tenon key new harbuor`",
                    "did you mean 'harbour'?");
    TN_ASSERT(!tn_key_load("nothing-like-it", &key, &error));
    TN_ASSERT(strstr(error->message, "did you mean") == NULL);
    TN_ASSERT_ERROR(&error, TN_ERROR, TN_ERROR_NOT_FOUND, "`tenon key new nothing-like-it`");
}

/* Loads what a file NAME.key holds; the error's message never has a secret in it. */
static void
is_corrupt(const char *text, gssize n, const char *secret, const char *said)
{
    TnKey key = { .name = "before" };
    g_autoptr(GError) error = NULL;
    g_autofree char *path = file_of("damaged", ".key");
    tn_test_write_file(path, text, n);
    TN_REQUIRE(g_chmod(path, 0600) == 0);
    TN_ASSERT(!tn_key_load("damaged", &key, &error));
    TN_ASSERT_CMPSTR(key.name, "before");
    TN_ASSERT_CMPSTR(key.secret_key, "");
    TN_REQUIRE(error != NULL);
    TN_ASSERT(strstr(error->message, secret) == NULL);
    TN_ASSERT_ERROR(&error, TN_ERROR, TN_ERROR_CORRUPT, path, said, "tenon key new");
}

static void
corrupted(void)
{
    const TnKey key = make("damaged"), other = make("damaged-other");
    const char *p = key.public_key, *s = key.secret_key;
    g_autofree char *path = file_of("damaged", ".key");
    g_autofree char *whole = tn_test_read_file(path, NULL);
    const gsize length = strlen(whole);
    /* Cut anywhere but before the last newline. */
    for (gsize cut = 0; cut + 1 < length; cut += 7)
        is_corrupt(whole, (gssize)cut, s, "");
    is_corrupt(whole, (gssize)length - 2, s, "line 3");
    static const struct {
        const char *format, *said;
    } cases[] = {
        { "public = \"%s\"\n", "is missing" },
        { "public = \"%s\"\npublic = \"%s\"\n", "line 2" },
        { "public = \"%s\"\nsecret = %s\n", "line 2" },
        { "public = \"%s\"\nsecret = \"%s\n", "line 2" },
        { "public = \"%s\"\nsecret = \"%s\" x\n", "line 2" },
        { "public = \"%s\"\nsecret = \"%.39s\"\n", "line 2" },
        { "public = \"%s\"\nsecret = \"%sx\"\n", "line 2" },
        { "public = \"%s\"\nsecret = \"%.39s~\"\n", "line 2" },
        { "public = \"%s\"\nsecret \"%s\"\n", "line 2" },
        { "public = \"%s\"\nsecrets = \"%s\"\n", "line 2" },
        { "\n\npublic = \"%s\"\n\n%s\n", "line 5" },
    };
    for (guint i = 0; i < G_N_ELEMENTS(cases); i++) {
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
#pragma GCC diagnostic ignored "-Wformat-extra-args"
        g_autofree char *text = g_strdup_printf(cases[i].format, p, s);
#pragma GCC diagnostic pop
        is_corrupt(text, -1, s, cases[i].said);
    }
    g_autofree char *mixed =
        g_strdup_printf("public = \"%s\"\nsecret = \"%s\"\n", p, other.secret_key);
    is_corrupt(mixed, -1, other.secret_key, "does not belong");
    g_autofree char *much = g_strnfill(5000, '\n');
    is_corrupt(much, -1, s, "too long");
    is_corrupt("public\0secret", 13, s, "not text");
    /* As an editor of another system leaves it, it is good. */
    g_autofree char *crlf =
        g_strdup_printf("# a key\r\n\r\npublic=\"%s\"\r\nsecret\t= \"%s\" \r\n", p, s);
    TnKey loaded = { 0 };
    g_autoptr(GError) error = NULL;
    tn_test_write_file(path, crlf, -1);
    TN_ASSERT(tn_key_load("damaged", &loaded, &error));
    TN_ASSERT_NO_ERROR(error);
    TN_ASSERT_CMPSTR(loaded.secret_key, s);
}

static void
readable_by_others(void)
{
    static const guint modes[] = { 0640, 0604, 0644, 0660, 0620, 0602, 0666 };
    make("open");
    TnKey key;
    g_autoptr(GError) error = NULL;
    g_autofree char *path = file_of("open", ".key");
    g_autofree char *told = g_strconcat("chmod 600 ", path, NULL);
    for (guint i = 0; i < G_N_ELEMENTS(modes); i++) {
        TN_REQUIRE(g_chmod(path, (int)modes[i]) == 0);
        TN_ASSERT(!tn_key_load("open", &key, &error));
        TN_ASSERT_ERROR(&error, TN_ERROR, TN_ERROR_USAGE, told);
    }
    TN_REQUIRE(g_chmod(path, 0400) == 0);
    TN_ASSERT(tn_key_load("open", &key, &error));
    TN_ASSERT_NO_ERROR(error);
}

static void
links_and_other_things(void)
{
    make("target");
    TnKey key;
    g_autoptr(GError) error = NULL;
    g_autofree char *target = file_of("target", ".key"), *link = file_of("link", ".key");
    g_autofree char *dangling = file_of("dangling", ".key"), *fifo = file_of("fifo", ".key");
    g_autofree char *folder = file_of("folder", ".key"), *elsewhere = tn_test_tmp_path("elsewhere");
    TN_REQUIRE(symlink(target, link) == 0 && symlink(elsewhere, dangling) == 0);
    TN_REQUIRE(mkfifo(fifo, 0600) == 0 && g_mkdir(folder, 0700) == 0);
    static const char *const what[] = { "link", "dangling", "fifo", "folder" };
    for (guint i = 0; i < G_N_ELEMENTS(what); i++) {
        TN_ASSERT(!tn_key_load(what[i], &key, &error));
        TN_ASSERT_ERROR(&error, TN_ERROR, TN_ERROR_USAGE, what[i], "plain file");
        TN_ASSERT(!tn_key_make(what[i], &key, &error));
        TN_ASSERT_ERROR(&error, TN_ERROR, TN_ERROR_USAGE, what[i], "there already");
    }
    TN_ASSERT(!g_file_test(elsewhere, G_FILE_TEST_EXISTS));
}

/* --- Where the folder is ------------------------------------------------------------------------ */

/* As a child: prints the folder, and how making a key in it ends where CAN_WRITE is set. */
static void
child_folder(void)
{
    g_autofree char *folder = tn_key_folder();
    g_autoptr(GError) error = NULL;
    TnKey key;
    printf("folder %s\n", folder);
    if (g_getenv("CAN_WRITE") && !tn_key_make("child", &key, &error))
        printf("error %s\n", error->message);
}

static void
in_child(TnChild *child, const char *a, const char *b, const char *c)
{
    g_autofree char *program = g_file_read_link("/proc/self/exe", NULL);
    const char *env[] = { "TEST_KEY_CHILD=1", a, b, c, NULL };
    const char *argv[] = { program, "child:folder", NULL };
    tn_test_spawn(child, argv, &(TnChildOptions){ .env = env, .cwd = tn_test_tmp_dir() });
    TN_ASSERT_EXIT(child, 0);
}

static void
without_home(void)
{
    g_auto(TnChild) none = { 0 }, home = { 0 }, relative = { 0 }, file = { 0 };
    /* GLib asks the system who the user is. */
    in_child(&none, "HOME", "XDG_CONFIG_HOME", NULL);
    TN_ASSERT_CONTAINS(none.out, "folder /");
    TN_ASSERT_CONTAINS(none.out, "/tenon/keys\n");
    g_autofree char *home_env = g_strconcat("HOME=", tn_test_tmp_dir(), "/home", NULL);
    in_child(&home, home_env, "XDG_CONFIG_HOME", "CAN_WRITE=1");
    TN_ASSERT(strstr(home.out, "error") == NULL);
    g_autofree char *path = tn_test_tmp_path("home/.config/tenon/keys/child.key");
    TN_ASSERT(g_file_test(path, G_FILE_TEST_IS_REGULAR));
    in_child(&relative, "HOME=", "XDG_CONFIG_HOME", "CAN_WRITE=1");
    TN_ASSERT_CONTAINS(relative.out, "error keys would lie in ");
    TN_ASSERT_CONTAINS(relative.out, "XDG_CONFIG_HOME");
    /* A file where the folder should be. */
    g_autofree char *plain = tn_test_tmp_path("plain");
    g_autofree char *plain_env = g_strconcat("XDG_CONFIG_HOME=", plain, NULL);
    tn_test_write_file(plain, "", -1);
    in_child(&file, plain_env, "CAN_WRITE=1", NULL);
    TN_ASSERT_CONTAINS(file.out, "error ");
    TN_ASSERT_CONTAINS(file.out, "plain/tenon/keys: cannot make this folder");
}

static const TnTest tests[] = {
    { "names", names },
    { "Z85", z85 },
    { "what is made is loaded", made_is_loaded },
    { "files are closed to others", files_are_closed_to_others },
    { "an open folder is closed", an_open_folder_is_closed },
    { "names are listed", names_are_listed },
    { "existing names stay", existing_names_stay },
    { "missing", missing },
    { "corrupted", corrupted },
    { "readable by others", readable_by_others },
    { "links and other things", links_and_other_things },
    { "without HOME", without_home },
    { "child:folder", child_folder },
};
TN_TEST_MAIN_WITH("keys", tests, use_own_folder, NULL)

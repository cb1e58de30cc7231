/* copy.c: strided copies: axes merged, the last one as runs, transposes in blocks that stay in the
 * cache. */
#include "copy.h"

/* Brings the axis along which the source's elements are neighbours beside the last one. */
static void
find_transpose(CpuCopy *copy)
{
    gint last = copy->rank - 1;
    if (copy->rank < 2 || copy->from[last] == 1 || copy->to[last] != 1) {
        return;
    }
    for (gint i = 0; i < last; i++) {
        if (copy->from[i] != 1 || copy->dims[i] < 4) {
            continue;
        }
        gint64 *rows[] = { copy->dims, copy->to, copy->from };
        for (guint k = 0; k < G_N_ELEMENTS(rows); k++) {
            gint64 moved = rows[k][i];
            memmove(rows[k] + i, rows[k] + i + 1, (gsize)(last - 1 - i) * sizeof(gint64));
            rows[k][last - 1] = moved;
        }
        copy->transposes = TRUE;
        copy->inner = 2;
        return;
    }
}

void
cpu_copy_plan(CpuCopy *copy, gsize size, gint rank, const gint64 *dims, const gint64 *to,
              const gint64 *from)
{
    gint64 strides[2][TN_MAX_RANK];
    memset(copy, 0, sizeof *copy);
    copy->size = size;
    memcpy(copy->dims, dims, (gsize)rank * sizeof *dims);
    memcpy(strides[0], to, (gsize)rank * sizeof *to);
    memcpy(strides[1], from, (gsize)rank * sizeof *from);
    copy->rank = cpu_collapse(rank, copy->dims, 2, strides);
    memcpy(copy->to, strides[0], sizeof copy->to);
    memcpy(copy->from, strides[1], sizeof copy->from);
    if (copy->rank == 0) {
        copy->rank = 1;
        copy->dims[0] = cpu_count(rank, dims);
        copy->to[0] = copy->from[0] = 1;
    }
    copy->inner = 1;
    find_transpose(copy);
    if (copy->rank == 1 && copy->to[0] == 1 && copy->from[0] == 1 && copy->dims[0] > CPU_GRAIN) {
        /* One long run: cut it, the last piece may be short. */
        copy->items = (copy->dims[0] + CPU_GRAIN - 1) / CPU_GRAIN;
        copy->per_chunk = cpu_items_per_chunk(copy->items, CPU_GRAIN / 4);
        return;
    }
    gint outer = copy->rank - copy->inner;
    copy->items = cpu_count(outer, copy->dims);
    copy->per_chunk = cpu_items_per_chunk(copy->items, cpu_count(copy->inner, copy->dims + outer));
}

#define BY_SIZE(size, CALL)                                                                        \
    switch (size) {                                                                                \
    case 1: CALL(guint8) break;                                                                    \
    case 2: CALL(guint16) break;                                                                   \
    case 4: CALL(guint32) break;                                                                   \
    default: CALL(guint64) break;                                                                  \
    }

static void
copy_line(gsize size, gint64 n, void *to, gint64 to_step, const void *from, gint64 from_step)
{
    if (to_step == 1 && from_step == 1) {
        memcpy(to, from, (gsize)n * size);
        return;
    }
#define LINE(T)                                                                                    \
    {                                                                                              \
        T *a = to;                                                                                 \
        const T *b = from;                                                                         \
        for (gint64 i = 0; i < n; i++) {                                                           \
            a[i * to_step] = b[i * from_step];                                                     \
        }                                                                                          \
    }
    BY_SIZE(size, LINE)
#undef LINE
}

typedef guint32 Four __attribute__((vector_size(16), aligned(4), may_alias));

/* Four rows of four elements of 4 bytes, interleaved in two steps. */
static CPU_INLINE void
turn(guint32 *to, gint64 to_row, const guint32 *from, gint64 from_col)
{
    const Four a = *(const Four *)from, b = *(const Four *)(from + from_col);
    const Four c = *(const Four *)(from + 2 * from_col), d = *(const Four *)(from + 3 * from_col);
    const Four ab = __builtin_shufflevector(a, b, 0, 4, 1, 5);
    const Four ab2 = __builtin_shufflevector(a, b, 2, 6, 3, 7);
    const Four cd = __builtin_shufflevector(c, d, 0, 4, 1, 5);
    const Four cd2 = __builtin_shufflevector(c, d, 2, 6, 3, 7);
    *(Four *)to = __builtin_shufflevector(ab, cd, 0, 1, 4, 5);
    *(Four *)(to + to_row) = __builtin_shufflevector(ab, cd, 2, 3, 6, 7);
    *(Four *)(to + 2 * to_row) = __builtin_shufflevector(ab2, cd2, 0, 1, 4, 5);
    *(Four *)(to + 3 * to_row) = __builtin_shufflevector(ab2, cd2, 2, 3, 6, 7);
}

#define SIDE 16
/* to[i][j] (rows apart, j neighbours) = from[i][j] (i neighbours, columns apart). */
static void
transpose(gsize size, gint64 rows, gint64 cols, void *to, gint64 to_row, const void *from,
          gint64 from_col)
{
#define ONE(T, r, c) ((T *)to)[(r)*to_row + (c)] = ((const T *)from)[(r) + (c)*from_col];
#define BLOCKS(T)                                                                                  \
    {                                                                                              \
        for (gint64 i = 0; i < rows; i += SIDE) {                                                  \
            gint64 i_end = MIN(rows, i + SIDE);                                                    \
            for (gint64 j = 0; j < cols; j += SIDE) {                                              \
                gint64 j_end = MIN(cols, j + SIDE), r = i;                                         \
                for (; sizeof(T) == sizeof(guint32) && r + 4 <= i_end; r += 4) {                   \
                    gint64 c = j;                                                                  \
                    for (; c + 4 <= j_end; c += 4) {                                               \
                        turn((guint32 *)to + r * to_row + c, to_row,                               \
                             (const guint32 *)from + r + c * from_col, from_col);                  \
                    }                                                                              \
                    for (; c < j_end; c++) {                                                       \
                        ONE(T, r, c) ONE(T, r + 1, c) ONE(T, r + 2, c) ONE(T, r + 3, c)            \
                    }                                                                              \
                }                                                                                  \
                for (; r < i_end; r++) {                                                           \
                    for (gint64 c = j; c < j_end; c++) {                                           \
                        ONE(T, r, c)                                                               \
                    }                                                                              \
                }                                                                                  \
            }                                                                                      \
        }                                                                                          \
    }
    BY_SIZE(size, BLOCKS)
#undef BLOCKS
#undef ONE
}

typedef struct {
    const CpuCopy *copy;
    char *to;
    const char *from;
} Job;

static void
copy_item(const Job *job, const gint64 *index)
{
    const CpuCopy *copy = job->copy;
    gint outer = copy->rank - copy->inner, last = copy->rank - 1;
    gint64 size = (gint64)copy->size;
    char *to = job->to + cpu_dot(outer, index, copy->to) * size;
    const char *from = job->from + cpu_dot(outer, index, copy->from) * size;
    if (copy->transposes) {
        transpose(copy->size, copy->dims[outer], copy->dims[last], to, copy->to[outer], from,
                  copy->from[last]);
    } else {
        copy_line(copy->size, copy->dims[last], to, copy->to[last], from, copy->from[last]);
    }
}

static TnStatus
copy_chunk(gpointer data, gsize chunk, gsize n)
{
    const Job *job = data;
    const CpuCopy *copy = job->copy;
    gint outer = copy->rank - copy->inner;
    gint64 first = (gint64)chunk * copy->per_chunk;
    gint64 end = MIN(copy->items, first + copy->per_chunk), index[TN_MAX_RANK] = { 0 };
    (void)n;
    cpu_position(outer, copy->dims, first, index);
    for (gint64 i = first; i < end; i++) {
        copy_item(job, index);
        cpu_next(outer, copy->dims, index);
    }
    return TN_OK;
}

static TnStatus
copy_piece(gpointer data, gsize chunk, gsize n)
{
    const Job *job = data;
    const CpuCopy *copy = job->copy;
    gint64 first = (gint64)chunk * copy->per_chunk * CPU_GRAIN;
    gint64 end = MIN(copy->dims[0], first + copy->per_chunk * CPU_GRAIN);
    (void)n;
    memcpy(job->to + (gsize)first * copy->size, job->from + (gsize)first * copy->size,
           (gsize)(end - first) * copy->size);
    return TN_OK;
}

TnStatus
cpu_copy_run(const CpuCopy *copy, void *to, const void *from)
{
    Job job = { copy, to, from };
    gboolean run =
        copy->rank == 1 && copy->to[0] == 1 && copy->from[0] == 1 && copy->dims[0] > CPU_GRAIN;
    if (copy->items == 0 || cpu_count(copy->rank, copy->dims) == 0) {
        return TN_OK;
    }
    return tn_parallel_for((gsize)((copy->items + copy->per_chunk - 1) / copy->per_chunk),
                           run ? copy_piece : copy_chunk, &job);
}

/* --- Filling ---------------------------------------------------------------------------------- */

typedef struct {
    char *to;
    gsize size;
    gint64 n;
    const void *value;
} Fill;

#define FILL_CHUNK (4 * CPU_GRAIN)
static TnStatus
fill_chunk(gpointer data, gsize chunk, gsize n)
{
    const Fill *fill = data;
    gint64 first = (gint64)chunk * FILL_CHUNK, count = MIN(FILL_CHUNK, fill->n - first);
    (void)n;
#define LINE(T)                                                                                    \
    {                                                                                              \
        T *to = (T *)(void *)fill->to + first, value = *(const T *)fill->value;                    \
        for (gint64 i = 0; i < count; i++) {                                                       \
            to[i] = value;                                                                         \
        }                                                                                          \
    }
    BY_SIZE(fill->size, LINE)
#undef LINE
    return TN_OK;
}

TnStatus
cpu_fill(void *to, gsize size, gint64 n, const void *value)
{
    Fill fill = { to, size, n, value };
    if (n == 0) {
        return TN_OK;
    }
    return tn_parallel_for((gsize)((n + FILL_CHUNK - 1) / FILL_CHUNK), fill_chunk, &fill);
}

/* message.h: what goes over a wire: a fixed head, a text and tensors, and how they lie in bytes.
 *
 * A message is one ZeroMQ part that holds head, rows of the tensors, text and small tensors, then a
 * part for each tensor that is large and travels by itself. Everything is little-endian; offsets
 * are from the start of the first part:
 *
 *      0  u8[4]  "TNWM"
 *      4  u16    TN_WIRE_VERSION
 *      6  u8     kind
 *      7  u8     flags: 0
 *      8  u64    session
 *     16  u64    number
 *     24  u64    extra
 *     32  u32    tensors (at most TN_WIRE_MOST_TENSORS)
 *     36  u32    bytes of the text (at most TN_WIRE_MOST_TEXT)
 *     40  rows, each 32 bytes and 8 for each dimension:
 *            u8 DLPack type code, u8 DLPack bits, u8 rank, u8 place, u32 0,
 *            u64 place's number: of the block (IN_BLOCK), else 0
 *            u64 offset: in the first part (INLINE), in the block; of a part of its own: 0.
 *                It is a multiple of 64
 *            u64 bytes
 *            i64 sizes
 *      …  the text, without a zero at its end
 *      …  inline tensors in the order of their rows, each at the next multiple of 64; the part ends
 *         where the last one does
 *
 * A tensor's bytes are its elements in row-major order. A part with anything else in it, one byte too
 * many or too few or a gap that is not zero, is refused: what can be said is said in one way. */
#pragma once

#include <tenon/tensor.h>

#define TN_WIRE_VERSION 1
#define TN_WIRE_HEAD 40
#define TN_WIRE_MOST_TENSORS 16 /* TN_MAX_FIELDS of a frame */
#define TN_WIRE_MOST_TEXT (1u << 20)
/* Bytes up to which a tensor is copied into the first part. */
#define TN_WIRE_INLINE 16384

typedef enum {
    TN_WIRE_HELLO = 1, /* of who joins: text says who and what */
    TN_WIRE_WELCOME,   /* number: the session's */
    TN_WIRE_REFUSE,    /* text: why */
    TN_WIRE_ASK,       /* number: of the ask, each larger than the last; extra: what is asked for */
    TN_WIRE_ANSWER,    /* number: of the ask; extra: what it is */
    TN_WIRE_FAIL,      /* instead of an answer; extra: a TnStatus; text: why */
    TN_WIRE_FORGET,    /* asks up to number are void */
    TN_WIRE_BLOCK,     /* number: key of a block to come; extra: its bytes; text: "PID/FD" */
    TN_WIRE_RELEASE,   /* one u64 tensor: keys of blocks that are free again */
    TN_WIRE_BEAT,
    TN_WIRE_BYE,
    TN_WIRE_N_KINDS
} TnWireKind;

typedef enum {
    TN_WIRE_INLINE_AT,
    TN_WIRE_OWN_PART,
    TN_WIRE_IN_BLOCK,
    TN_WIRE_N_PLACES
} TnWirePlace;

/* A message to be written, or one that was read. */
typedef struct {
    TnWireKind kind;
    guint64 session, number, extra;
    const char *text; /* not zero-terminated where it was read; NULL: none */
    gsize text_bytes;
    guint n;
    struct {
        TnType type;
        TnWirePlace place;
        guint64 block;  /* IN_BLOCK */
        guint64 offset; /* INLINE_AT (filled by the writer), IN_BLOCK */
        gsize bytes;
        /* INLINE_AT: elements, copied by the writer; where it was read they lie in the part, aligned
         * as it is. Else NULL. */
        const void *data;
    } tensors[TN_WIRE_MOST_TENSORS];
} TnMessage;

/* Bytes of the first part; offsets of inline tensors are set. 0 if something is beyond a limit, or
 * would not be read: bytes that are not the type's, an offset in a block that is no multiple of
 * 64. */
gsize tn_message_size(TnMessage *message);
/* Writes as many bytes as tn_message_size, which comes first, has said; gaps are zero. */
void tn_message_write(const TnMessage *message, void *bytes);
/* Reads a first part, which must outlive what is read (it points into it). Everything is checked:
 * TN_ERROR_VERSION for another version, both named; TN_ERROR_CORRUPT says what is wrong with
 * which tensor. Never allocates but for *error. */
gboolean tn_message_read(TnMessage *message, const void *bytes, gsize size, GError **error);
/* Tensor bytes of all places, for credit; G_MAXSIZE if they are more. */
gsize tn_message_bytes(const TnMessage *message);
/* "hello"; "unknown" for a number that is no kind. (transfer none), static. */
const char *tn_wire_kind_name(guint kind);

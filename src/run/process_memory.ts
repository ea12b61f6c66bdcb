/** What a process of Pare takes beside its tensors. Measured; `bench/memory.js` holds the sums against real runs. */

const MiB = 2 ** 20

/** Node and V8 in two threads, the code of Pare, and the heaps with a report. */
export const processBytes = 144 * MiB

/** What encoding a text of any length needs beside its tokens. */
export const encodingBytes = 12 * MiB

/** A token in the tables of the tokenizer, and in the JSON that they were read from. */
export const tokenBytes = 750

/** A token in the metadata of a GGUF file that is read or written: its text, its merges, and what they are copied to. */
export const metadataBytes = 1600

/**
 * Arrays that were read from a file or are on their way to one stay until the garbage collector comes by, which V8 asks
 * for when they pass so many bytes.
 */
export const uncollectedBytes = 64 * MiB

/** Freed tensors that the pool keeps for reuse where no limit is set: native/src/pool.rs. */
export const pooledBytes = 128 * MiB

/** Bytes of a weight file that are read at a time: src/models/decode_rows.ts. */
export const readBytes = 8 * MiB

/** Packed operands of a matrix product for all threads: native/src/tile_sizes.rs. */
export const panelBytes = 16 * MiB

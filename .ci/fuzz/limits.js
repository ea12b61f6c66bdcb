/** What a case may take: a second of processor time, and twice its files and 64 MiB of memory. */
export const limits = { milliseconds: 1000, memory: (bytes) => 64 * 2 ** 20 + 2 * bytes }

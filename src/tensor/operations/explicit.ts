/** The switch between fused kernels and the same computation written out in single operations. */

let explicit = false

/** Whether operations must take their explicit path. */
export const isExplicit = (): boolean => explicit

/**
 * Runs `body` with attention and the epilogues of matrix products written out. Fused and explicit results differ
 * in their last bits, so a method that looks inside is compared with a baseline that took the same path.
 *
 * @example const baseline = explicitPaths(() => model.forward(ids))
 */
export function explicitPaths<T>(body: () => T): T {
  const before = explicit
  explicit = true
  try {
    return body()
  } finally {
    explicit = before
  }
}

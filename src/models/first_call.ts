/** A function that works on its first call and gives the same result again afterwards; a failure is not kept. */
export function firstCall<T extends object>(make: () => T): () => T {
  let made: T | undefined
  return () => {
    made ??= make()
    return made
  }
}

/**
 * Scopes free the tensors made inside them, except what they return. Loops of the toolkit open scopes; methods
 * never count references. A finaliser frees what was made outside of every scope.
 */

/** Something with memory of its own. */
export interface Resource {
  /** Gives the memory back; a second call does nothing. */
  dispose(): void
}

const stack: Set<Resource>[] = []
const finaliser = new FinalizationRegistry<() => void>((free) => free())

/**
 * Called by whatever owns memory, when it is made. `free` must not refer to the resource itself.
 */
export function register(resource: Resource, free: () => void): void {
  const current = stack.at(-1)
  if (current) current.add(resource)
  else finaliser.register(resource, free, resource)
}

/** Called when a resource was disposed of early. */
export function unregister(resource: Resource): void {
  for (const set of stack) set.delete(resource)
  finaliser.unregister(resource)
}

/**
 * Runs `body` and frees every tensor made in it that the result does not hold. The result may be a tensor, or
 * arrays, maps, sets and plain objects of such, to any depth; class instances count where they have a `resources()`.
 *
 * @example const y = scope(() => x.matmul(w).add(bias))
 */
export function scope<T>(body: () => T): T {
  const mine = new Set<Resource>()
  stack.push(mine)
  let result: T
  try {
    result = body()
    if (result instanceof Promise)
      throw new TypeError('scope: the body must not be asynchronous; open scopes inside it')
    keep(result, mine)
  } finally {
    stack.pop()
    for (const resource of mine) resource.dispose()
  }
  return result
}

/** Takes what `value` holds out of the running scope, so that the scope around it (or nobody) frees it. */
export function detach<T>(value: T): T {
  const current = stack.at(-1)
  if (current) keep(value, current)
  return value
}

/** Objects that hold tensors in fields of their own. */
export interface ResourceHolder {
  resources(): Iterable<unknown>
}

function keep(value: unknown, from: Set<Resource>, seen = new Set<object>()): void {
  if (typeof value !== 'object' || value === null || seen.has(value)) return
  seen.add(value)
  if (from.has(value as Resource)) {
    from.delete(value as Resource)
    const outer = stack.at(stack.at(-1) === from ? -2 : -1)
    if (outer) outer.add(value as Resource)
    else (value as Resource & { adopt?(): void }).adopt?.()
    return
  }
  if (typeof (value as Partial<ResourceHolder>).resources === 'function') {
    for (const item of (value as ResourceHolder).resources()) keep(item, from, seen)
  } else if (Array.isArray(value) || value instanceof Set) {
    for (const item of value) keep(item, from, seen)
  } else if (value instanceof Map) {
    for (const item of value.values()) keep(item, from, seen)
  } else if (Object.getPrototypeOf(value) === Object.prototype || Object.getPrototypeOf(value) === null) {
    for (const item of Object.values(value)) keep(item, from, seen)
  }
}

/** Takes a resource out of all scopes and hands it to the finaliser. */
export function adopt(resource: Resource, free: () => void): void {
  for (const set of stack) set.delete(resource)
  finaliser.register(resource, free, resource)
}

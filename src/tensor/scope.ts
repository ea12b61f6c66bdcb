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

function keep(value: unknown, from: Set<Resource>): void {
  for (const resource of resourcesIn(value, (object) => from.has(object as Resource))) {
    from.delete(resource)
    const outer = stack.at(stack.at(-1) === from ? -2 : -1)
    if (outer) outer.add(resource)
    else (resource as Resource & { adopt?(): void }).adopt?.()
  }
}

/** Frees every tensor that `value` holds, to any depth: for what was made outside of all scopes. */
export function dispose(value: unknown): void {
  const isResource = (object: object) => typeof (object as Partial<Resource>).dispose === 'function'
  for (const resource of resourcesIn(value, isResource)) resource.dispose()
}

/** The resources inside arrays, maps, sets, plain objects and holders. */
function resourcesIn(
  value: unknown,
  isResource: (object: object) => boolean,
  seen = new Set<object>(),
): Resource[] {
  if (typeof value !== 'object' || value === null || seen.has(value)) return []
  seen.add(value)
  if (isResource(value)) return [value as Resource]
  const inside = (items: Iterable<unknown>) =>
    Array.from(items).flatMap((item) => resourcesIn(item, isResource, seen))
  if (typeof (value as Partial<ResourceHolder>).resources === 'function') {
    return inside((value as ResourceHolder).resources())
  }
  if (Array.isArray(value) || value instanceof Set) return inside(value)
  if (value instanceof Map) return inside(value.values())
  const prototype = Object.getPrototypeOf(value)
  return prototype === Object.prototype || prototype === null ? inside(Object.values(value)) : []
}

/** Takes a resource out of all scopes and hands it to the finaliser. */
export function adopt(resource: Resource, free: () => void): void {
  for (const set of stack) set.delete(resource)
  finaliser.register(resource, free, resource)
}

/**
 * Sites: named places inside a model where a tensor can be read or replaced, e.g. `block.3/attn/k.rope`.
 * Fused kernels run only where no hook asks for something inside them.
 */
import type { Tensor } from '../tensor/index.ts'

/** Sees the tensor of a site; what it returns takes its place. */
export type SiteHook = (x: Tensor, site: string) => Tensor | undefined

/** The hook for a site, where one asks for it. */
export type Sites = (site: string) => SiteHook | undefined

/** Hooks by exact name of the site. @example sitesOf({ 'block.0/mlp/act': (x) => x.relu() }) */
export const sitesOf =
  (hooks: Readonly<Record<string, SiteHook>>): Sites =>
  (site) =>
    Object.hasOwn(hooks, site) ? hooks[site] : undefined

/** Passes a tensor through its site. */
export function visit(at: Sites | undefined, site: string, x: Tensor): Tensor {
  return at?.(site)?.(x, site) ?? x
}

/** True where a hook asks for one of the sites. */
export const anyAsked = (at: Sites | undefined, sites: readonly string[]): boolean =>
  at !== undefined && sites.some((site) => at(site) !== undefined)

export interface SiteReader {
  readonly at: Sites
  /** What was seen last at each of the sites, once the model has run. */
  readonly tensors: ReadonlyMap<string, Tensor>
  /** All sites that the model has come by. */
  readonly passed: ReadonlySet<string>
  /** Frees what was seen. */
  dispose(): void
}

/**
 * Reads the tensors of some sites in one forward. They outlive all scopes, until `dispose`.
 *
 * @example
 * const hidden = readSites(['block.0/output'])
 * const logits = model.logits(ids, { at: hidden.at })
 * const output = hidden.tensors.get('block.0/output')
 */
export function readSites(sites: readonly string[]): SiteReader {
  const tensors = new Map<string, Tensor>()
  const passed = new Set<string>()
  const hook: SiteHook = (x, site) => {
    x.adopt()
    tensors.set(site, x)
    return undefined
  }
  return {
    at(site) {
      passed.add(site)
      return sites.includes(site) ? hook : undefined
    },
    tensors,
    passed,
    dispose() {
      for (const x of tensors.values()) x.dispose()
      tensors.clear()
    },
  }
}

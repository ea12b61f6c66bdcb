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

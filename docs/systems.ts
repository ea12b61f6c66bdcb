/** The systems with a page: one for each quantiser, pruning at once, and those that the training methods come from. */
import { quantizers } from '#src/quantize/methods.ts'
import type { System } from './pages.ts'

/** By page; the pruning methods of each. */
export const pruningSystems: Readonly<Record<string, readonly string[]>> = {
  gmp: ['gmp'],
  jaxpruner: [
    ...['no_prune', 'magnitude', 'random', 'saliency', 'magnitude_ste', 'random_ste', 'global_magnitude'],
    ...['global_saliency', 'static_sparse', 'set', 'rigl', 'fisher', 'ac_dc'],
  ],
}

export const systems: readonly System[] = [
  ...Object.keys(quantizers).map((name) => ({ page: name, choose: `\`--method ${name}\`` })),
  { page: 'rotation', choose: '`--method hadamard`, alone or with `--then` and another method' },
  { page: 'sparsegpt', choose: '`--method sparsegpt`, `--method wanda` or `--method magnitude`' },
  { page: 'obc', choose: '`--method obs` or `--method obq`' },
  ...['omniquant', 'spqr', 'baq', 'aqlm', 'quip'].map((name) => ({
    page: name,
    choose: `\`--method ${name}\``,
  })),
  ...['awq', 'smoothquant'].map((name) => ({
    page: name,
    choose: `\`--method ${name}\` before another step`,
  })),
  { page: 'eora', choose: '`--then eora` behind another step' },
  ...Object.entries(pruningSystems).map(([page, methods]) => ({
    page,
    choose: `training method ${methods.map((name) => `\`${name}\``).join(', ')}`,
  })),
]

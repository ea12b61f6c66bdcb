/** The training methods that prune, by the name that recipes know them by. */
import { acDc } from './ac_dc.ts'
import { globalMagnitude, globalSaliency } from './global.ts'
import { gmp } from './gmp.ts'
import { fisher, magnitude, noPrune, random, saliency } from './layerwise.ts'
import { rigl, set, staticSparse } from './sparse_training.ts'
import { magnitudeSte, randomSte } from './straight_through.ts'

export const pruningMethods = {
  gmp,
  no_prune: noPrune,
  magnitude,
  random,
  saliency,
  magnitude_ste: magnitudeSte,
  random_ste: randomSte,
  global_magnitude: globalMagnitude,
  global_saliency: globalSaliency,
  static_sparse: staticSparse,
  set,
  rigl,
  fisher,
  ac_dc: acDc,
}
export type PruningMethodName = keyof typeof pruningMethods

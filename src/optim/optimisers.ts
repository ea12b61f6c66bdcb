/** The optimisers by name: what recipes, the command line and the contract suite read. */
import { adam, adamW } from './adam.ts'
import { sgd } from './sgd.ts'

export const optimisers = { sgd, adam, adamW }

export type OptimiserName = keyof typeof optimisers

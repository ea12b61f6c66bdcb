/** The quantisers, by the name that the command line knows them by. */
import { gptq } from './gptq.ts'
import { rtn } from './rtn.ts'

export const quantizers = { rtn, gptq }
export type QuantizerName = keyof typeof quantizers

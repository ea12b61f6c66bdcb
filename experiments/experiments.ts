/** All experiments, by the name that `pare reproduce` knows them by. */
import { bitsPerByte } from './bits_per_byte.ts'
import { encoderOnnx } from './encoder_onnx.ts'
import type { AnyExperiment } from './experiment.ts'
import { gmp } from './gmp.ts'
import { gptq } from './gptq.ts'
import { jaxpruner } from './jaxpruner.ts'
import { obc } from './obc.ts'

export const experiments: Readonly<Record<string, AnyExperiment>> = {
  gptq,
  gmp,
  jaxpruner,
  bits_per_byte: bitsPerByte,
  encoder_onnx: encoderOnnx,
  obc,
}

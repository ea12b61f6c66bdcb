/** All experiments, by the name that `pare reproduce` knows them by. */
import { aqlm } from './aqlm.ts'
import { baq } from './baq.ts'
import { bitsPerByte } from './bits_per_byte.ts'
import { encoderOnnx } from './encoder_onnx.ts'
import { eora } from './eora.ts'
import { eoraInputs } from './eora_inputs.ts'
import type { AnyExperiment } from './experiment.ts'
import { gmp } from './gmp.ts'
import { gptq } from './gptq.ts'
import { gptqFloats } from './gptq_floats.ts'
import { jaxpruner } from './jaxpruner.ts'
import { obc } from './obc.ts'
import { obcDigits } from './obc_digits.ts'
import { ptqBenchmark } from './ptq_benchmark.ts'
import { sparsegpt } from './sparsegpt.ts'
import { spqr } from './spqr.ts'

export const experiments: Readonly<Record<string, AnyExperiment>> = {
  gptq,
  gptq_floats: gptqFloats,
  gmp,
  jaxpruner,
  bits_per_byte: bitsPerByte,
  encoder_onnx: encoderOnnx,
  sparsegpt,
  spqr,
  baq,
  aqlm,
  eora,
  eora_inputs: eoraInputs,
  ptq_benchmark: ptqBenchmark,
  obc,
  obc_digits: obcDigits,
}

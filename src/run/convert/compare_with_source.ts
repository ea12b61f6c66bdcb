/** The proof of a conversion: the result is opened as any reader would open it, and compared with the source value by value. */
import { readdirSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { openOnnx } from '../../formats/onnx/onnx.ts'
import { finiteWeights } from '../../models/finite_weights.ts'
import { type OpenConvertible, openModel } from '../../models/load_model.ts'
import type { ModelWeights } from '../../models/model_weights.ts'
import { findOnnx } from '../../models/onnx/export_names.ts'
import { onnxLayers, onnxWeights } from '../../models/stored/onnx_layers.ts'
import { storedWeights } from '../../models/stored/stored_weights.ts'
import type { TargetPlan } from '../../models/write/model_writer.ts'
import { AbortError, printable, QualityError } from '../../tensor/errors.ts'
import type { RunHooks } from '../evaluate.ts'
import { type ConvertedWeight, relativeError, type Squares } from './conversion_report.ts'
import type { ResolvedConvertOptions } from './convert_options.ts'
import type { Conversion } from './convert_plan.ts'
import { differenceOf } from './difference.ts'

/** Opens what was written as any reader would, and compares every value. */
export async function compareWithSource(
  source: OpenConvertible,
  folder: string,
  target: TargetPlan,
  { options, weights, carriages }: Conversion,
  { progress, signal }: RunHooks,
): Promise<(ConvertedWeight & Squares)[]> {
  const result = source.family === 'image' ? openGraph(folder) : openModel(resultPath(folder)).weights
  try {
    const plans = new Map(target.tensors.map((plan) => [plan.name, plan]))
    const found = []
    for (const { info, role, described, levels } of weights) {
      await new Promise((done) => setImmediate(done))
      if (signal?.aborted) throw new AbortError()
      const { name } = info
      progress?.({ kind: 'progress', phase: 'verify', share: found.length / weights.length, text: name })
      const plan = plans.get(name)
      // What no forward takes is left out, and the notes say so.
      if (!plan) continue
      const keepsCodes = carriages.get(name)!.how === 'levels'
      const difference = differenceOf(source.weights, result, name, {
        steps: keepsCodes && levels !== undefined,
        // Embeddings are large, and no format packs them across rows.
        byRows: role !== 'matrix',
      })
      const { equal, largest, largestInSteps, squares, energy } = difference
      if (!equal && options.lossless) throw lossy(name, largest, options)
      const isCoded = plan.grid !== undefined || plan.described !== undefined
      found.push({
        ...{ name, role, from: info.type, to: plan.type, bytesBefore: info.bytes, bytes: plan.bytes },
        carried: equal
          ? ('lossless' as const)
          : keepsCodes
            ? ('codes kept' as const)
            : described && isCoded
              ? ('requantised' as const)
              : ('rounded' as const),
        largestDifference: largest,
        ...(largestInSteps === undefined || equal ? {} : { largestInSteps }),
        relativeError: relativeError([difference]),
        ...{ squares, energy },
      })
    }
    return found
  } finally {
    result.close()
  }
}

const lossy = (name: string, largest: number, { layout }: ResolvedConvertOptions) =>
  new QualityError(
    `--lossless: a value of ${printable(name)} differs by ${largest.toPrecision(3)} in ${layout.title}; leave it out, or choose --target pare, which holds anything`,
    { code: 'PARE_E_LOSSY', facts: { tensor: name, largest } },
  )

/** The folder, or the GGUF file in it. */
function resultPath(folder: string): string {
  const file = readdirSync(folder).find((name) => name.endsWith('.gguf'))
  return file === undefined ? folder : join(folder, file)
}

/** The weights of a graph that Pare does not compute itself. */
function openGraph(folder: string): ModelWeights {
  const path = findOnnx(folder)!
  const archive = onnxWeights(openOnnx(path))
  return finiteWeights(storedWeights(archive, statSync(path).size, onnxLayers(archive)))
}

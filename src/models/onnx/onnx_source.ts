/** What the ONNX target needs to know of a model of any family. */
import { prefixOf } from '../bert/names.ts'
import type { OpenModel } from '../open_model.ts'
import { withGenerationConfig } from '../write/generation_config.ts'
import type { OnnxSource } from '../write/onnx_target.ts'
import { encoderFolderSource, folderSource } from '../write/target.ts'
import { decoderGraph } from './decoder_graph.ts'
import { encoderGraph } from './encoder_graph.ts'

/**
 * A language model with its cache, or a text encoder.
 *
 * @example planOnnx(onnxSource(openModel('minilm')), { type: 'F16' })
 */
export function onnxSource(open: OpenModel): OnnxSource {
  if (open.family === 'llama') {
    const { config } = open.model
    const source = folderSource(open)
    return {
      ...source,
      graph: (builder) => decoderGraph(config, builder),
      companions: () => withGenerationConfig(source.companions()),
    }
  }
  const { config } = open.model
  const prefix = prefixOf(open.weights.infos)
  return { ...encoderFolderSource(open), graph: (builder) => encoderGraph(config, prefix, builder) }
}

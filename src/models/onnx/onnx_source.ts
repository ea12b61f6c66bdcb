/** What the ONNX target needs to know of a model of any family. */
import type { OpenModel } from '../open_model.ts'
import type { OnnxSource } from '../write/onnx_target.ts'
import { folderSource } from '../write/target.ts'
import { decoderGraph } from './decoder_graph.ts'

/** @example planOnnx(onnxSource(openModel('smollm2')), { type: 'F16' }) */
export function onnxSource(open: OpenModel): OnnxSource {
  if (open.family !== 'llama') throw new Error('todo')
  const { config } = open.model
  return { ...folderSource(open), graph: (builder) => decoderGraph(config, builder) }
}

/** Shapes and constants of the BERT family (Devlin et al., arXiv 1810.04805), MiniLM and other encoders among them. */
import { FormatError, printable } from '../../tensor/errors.ts'
import { type ConfigJson, layerCount, positiveField, wholeField } from '../config_fields.ts'

/** Architectures of config.json that this family computes. */
export const modelTypes: readonly string[] = ['bert']

/** `gelu` is exact, x Phi(x); `gelu_new` is its approximation with a tanh. */
export type BertActivation = 'gelu' | 'gelu_new' | 'relu'

/** The words of config.json; two of them name one function. */
const activations: Readonly<Record<string, BertActivation>> = {
  gelu: 'gelu',
  gelu_new: 'gelu_new',
  gelu_pytorch_tanh: 'gelu_new',
  relu: 'relu',
}

/** One encoder layer. */
export interface BertLayer {
  heads: number
  /** Width of the MLP. */
  intermediate: number
}

export interface BertConfig {
  architecture: 'bert'
  hidden: number
  layers: readonly BertLayer[]
  headSize: number
  vocabulary: number
  /** Learned positions: no sequence is longer. */
  context: number
  /** Kinds of segments: sentence A and sentence B. */
  typeVocabulary: number
  normEpsilon: number
  activation: BertActivation
  /** Id that fills short sequences of a batch; its value does not count. */
  padId: number
}

/** The family's shapes from a Hugging Face config.json. @throws FormatError for what it does not compute. */
export function configFromHuggingFace(config: ConfigJson): BertConfig {
  const architecture = String(config.model_type ?? 'nothing')
  if (!modelTypes.includes(architecture)) {
    throw new FormatError(`config.json: model_type ${printable(architecture)} is no BERT`, {
      code: 'PARE_E_ARCHITECTURE',
      facts: { architecture },
    })
  }
  const word = String(config.hidden_act ?? 'gelu')
  if (!Object.hasOwn(activations, word)) {
    throw new FormatError(
      `config.json: hidden_act ${printable(word)} is not supported; Pare computes ${Object.keys(activations).join(', ')} for BERT`,
    )
  }
  const positions = config.position_embedding_type ?? 'absolute'
  if (positions !== 'absolute') {
    throw new FormatError(
      `config.json: position_embedding_type ${printable(String(positions))} is not supported; Pare computes absolute`,
    )
  }
  if (config.is_decoder === true || config.add_cross_attention === true)
    throw new FormatError('config.json: BERT as a decoder is not supported; Pare computes the encoder')
  const hidden = wholeField(config, 'hidden_size')
  const heads = wholeField(config, 'num_attention_heads')
  if (hidden % heads !== 0) {
    throw new FormatError(
      `config.json: num_attention_heads must divide hidden_size, got ${heads} and ${hidden}; the file is damaged`,
    )
  }
  const vocabulary = wholeField(config, 'vocab_size')
  const padId = config.pad_token_id ?? 0
  if (!(typeof padId === 'number' && Number.isInteger(padId) && padId >= 0 && padId < vocabulary)) {
    throw new FormatError(
      `config.json: pad_token_id must be a token below ${vocabulary}, got ${printable(JSON.stringify(padId))}`,
    )
  }
  const layer = { heads, intermediate: wholeField(config, 'intermediate_size') }
  return {
    architecture: 'bert',
    hidden,
    layers: Array.from({ length: layerCount(config) }, () => layer),
    headSize: hidden / heads,
    vocabulary,
    context: wholeField(config, 'max_position_embeddings', 512),
    typeVocabulary: wholeField(config, 'type_vocab_size', 2),
    normEpsilon: positiveField(config, 'layer_norm_eps', 1e-12),
    activation: activations[word]!,
    padId,
  }
}

/** Shapes of an LSTM language model, as config.json holds them. */
import { FormatError, OptionError, printable } from '../../tensor/errors.ts'
import { type ConfigJson, layerCount, wholeField } from '../config_fields.ts'

export interface LstmConfig {
  /** Tokens that there are. */
  vocabulary: number
  /** Width of the embedding. */
  embedding: number
  /** Width of all layers. */
  hidden: number
  /** From 1 on. */
  layers: number
  /** Share of the embedding and of the outputs of each layer that is dropped in training, in [0, 1). */
  dropout: number
  /** The softmax reads the table of the embedding, which has the width of the layers then. */
  tied: boolean
}

/** Other programs know no family of this kind; the prefix keeps theirs out. */
export const lstmModelType = 'pare_lstm'

/** @throws OptionError for a shape that cannot be */
export function checkLstmConfig(config: LstmConfig): void {
  for (const name of ['vocabulary', 'embedding', 'hidden', 'layers'] as const)
    if (!(Number.isInteger(config[name]) && config[name] >= 1))
      throw new OptionError(`lstm: ${name} needs a whole number from 1 on, got ${config[name]}`)
  if (!(config.dropout >= 0 && config.dropout < 1))
    throw new OptionError(`lstm: dropout must be in [0, 1), got ${config.dropout}`)
  if (config.tied && config.embedding !== config.hidden)
    throw new OptionError(
      `lstm: a tied softmax needs an embedding as wide as the layers, got ${config.embedding} and ${config.hidden}; untie it, or give both one width`,
    )
}

export const lstmToJson = ({
  vocabulary,
  embedding,
  hidden,
  layers,
  dropout,
  tied,
}: LstmConfig): ConfigJson => ({
  model_type: lstmModelType,
  vocab_size: vocabulary,
  embedding_size: embedding,
  hidden_size: hidden,
  num_hidden_layers: layers,
  dropout,
  tie_word_embeddings: tied,
})

/** @throws FormatError for a config.json that is none of an LSTM, or holds shapes that cannot be */
export function lstmFromJson(json: ConfigJson): LstmConfig {
  if (json.model_type !== lstmModelType)
    throw new FormatError(
      `config.json: model_type ${printable(String(json.model_type ?? 'nothing'))} is no LSTM; Pare reads ${lstmModelType}`,
      { code: 'PARE_E_ARCHITECTURE' },
    )
  const { dropout = 0, tie_word_embeddings: tied = false } = json
  if (typeof dropout !== 'number' || typeof tied !== 'boolean')
    throw new FormatError('config.json: dropout must be a number and tie_word_embeddings true or false')
  const hidden = wholeField(json, 'hidden_size')
  const config: LstmConfig = {
    vocabulary: wholeField(json, 'vocab_size'),
    embedding: wholeField(json, 'embedding_size', hidden),
    hidden,
    layers: layerCount(json),
    dropout,
    tied,
  }
  try {
    checkLstmConfig(config)
  } catch (error) {
    throw new FormatError(`config.json: ${(error as Error).message}`)
  }
  return config
}

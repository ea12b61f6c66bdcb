/** A model whose headers are read and whose weights wait in their files. */
import type { ChatTemplateSources } from '../formats/tokenizer/chat_template.ts'
import type { Tokenizer } from '../formats/tokenizer/tokenizer.ts'
import { OptionError, printable } from '../tensor/errors.ts'
import { type FamilyName, families, type ModelOf } from './families.ts'
import type { ModelWeights } from './model_weights.ts'
import type { CheckpointFormat } from './stored/checkpoint.ts'

export interface OpenModelOf<Name extends FamilyName> {
  /** Tells the type of `model`. */
  readonly family: Name
  /** Human name, for reports and file names. */
  readonly name: string
  /** File or folder. */
  readonly path: string
  readonly format: 'gguf' | 'huggingface' | 'pare' | 'onnx' | CheckpointFormat
  readonly model: ModelOf<Name>
  readonly weights: ModelWeights
  /** Made on the first call. @throws FormatError where the model has none that Pare reads. */
  tokenizer(): Tokenizer
  chatTemplates(): ChatTemplateSources
  close(): void
}

/** A model of any family. */
export type OpenModel = { [Name in FamilyName]: OpenModelOf<Name> }[FamilyName]

/** What continues texts. */
export type OpenLanguageModel = OpenModelOf<'llama'>

/** What turns texts into vectors. */
export type OpenTextEncoder = OpenModelOf<'bert'>

/** What is calibrated on text, compressed, and compared with its source. */
export type OpenCompressible = OpenLanguageModel | OpenTextEncoder

/**
 * The model as a language model.
 *
 * @throws OptionError if it is none.
 */
export function languageModel(open: OpenModel): OpenLanguageModel {
  if (open.family === 'llama') return open
  const { modelTypes } = families.llama
  throw new OptionError(
    `${printable(open.name)}: a language model (${modelTypes.join(', ')}) is needed to evaluate or generate, this is a ${open.model.config.architecture} ${families[open.family].kind}; embedTexts computes its vectors`,
    { code: 'PARE_E_NO_LANGUAGE_MODEL', facts: { model: open.name, family: open.family } },
  )
}

/**
 * The model as a text encoder.
 *
 * @throws OptionError if it is none.
 */
export function textEncoder(open: OpenModel): OpenTextEncoder {
  if (open.family === 'bert') return open
  const { modelTypes } = families.bert
  throw new OptionError(
    `${printable(open.name)}: a text encoder (${modelTypes.join(', ')}) is needed to embed texts, this is a ${open.model.config.architecture} ${families[open.family].kind}; choose another model`,
    { code: 'PARE_E_NO_TEXT_ENCODER', facts: { model: open.name, family: open.family } },
  )
}

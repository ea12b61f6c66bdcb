/** Text for a training: documents, what is held out of them, the tokenizer, and windows of tokens. */
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { textRows } from '../../data/text_rows.ts'
import { packTokens, tokenWindows } from '../../data/token_windows.ts'
import { filesOf } from '../../formats/file_pattern.ts'
import { createTokenizer, loadTokenizer, type Tokenizer } from '../../formats/tokenizer/tokenizer.ts'
import { trainByteLevelBpe } from '../../formats/tokenizer/train_byte_level_bpe.ts'
import type { Batch, Examples } from '../../optim/examples.ts'
import { AbortError, OptionError, printable } from '../../tensor/errors.ts'
import type { TextDataRecipe } from './data_fields.ts'
import { holdOutText } from './hold_out_text.ts'

export interface TextData {
  readonly tokenizer: Tokenizer
  readonly train: Examples<Batch>
  readonly heldOut: Examples<Batch>
  /** UTF-8 bytes that the labels of a held-out window stand for. */
  readonly bytesOf: (window: number) => number
}

/**
 * Reads all documents into memory.
 *
 * @param known the tokenizer of the model that is gone on with, where there is one
 * @throws OptionError for empty data, or too little for one window; SourceError and FormatError as of `textRows`
 */
export async function readTextData(
  recipe: TextDataRecipe,
  { known, signal }: { known?: Tokenizer | undefined; signal?: AbortSignal | undefined } = {},
): Promise<TextData> {
  const documents = await documentsOf(recipe.files, signal)
  const { files, ...share } = recipe.validation ?? {}
  const { train, heldOut } = files
    ? { train: documents, heldOut: await documentsOf(files, signal) }
    : holdOutText(documents, share)
  const tokenizer = tokenizerOf(recipe, train, known, signal)
  const { length } = recipe
  const heldOutTokens = packTokens(heldOut, tokenizer)
  const lengths = Uint32Array.from({ length: tokenizer.vocabularySize }, (_, id) =>
    tokenizer.isSpecial(id) ? 0 : tokenizer.tokenBytes(id).length,
  )
  return {
    tokenizer,
    train: tokenWindows(packTokens(train, tokenizer), { length, name: 'training text' }),
    heldOut: tokenWindows(heldOutTokens, {
      length,
      name: 'held-out text',
      wayOut: 'give more text or a smaller length, or hold out more with validation',
    }),
    bytesOf: (window) =>
      heldOutTokens
        .subarray(window * length + 1, (window + 1) * length + 1)
        .reduce((sum, id) => sum + lengths[id]!, 0),
  }
}

async function documentsOf(patterns: readonly string[], signal: AbortSignal | undefined): Promise<string[]> {
  const files = filesOf(patterns)
  const documents: string[] = []
  for await (const { text } of textRows(files)) {
    if (signal?.aborted) throw new AbortError()
    if (text.trim() !== '') documents.push(text)
  }
  if (documents.length > 0) return documents
  throw new OptionError(
    `${files
      .map((file) => printable(file))
      .slice(0, 3)
      .join(', ')}: has no text; give files with text in them`,
    {
      code: 'PARE_E_EMPTY_DATA',
      facts: { files: files.length },
    },
  )
}

function tokenizerOf(
  { tokenizer }: TextDataRecipe,
  train: readonly string[],
  known: Tokenizer | undefined,
  signal: AbortSignal | undefined,
): Tokenizer {
  if (typeof tokenizer === 'object') {
    const { vocabulary } = tokenizer
    return createTokenizer(trainByteLevelBpe(train, { vocabulary, signal }), (idOf) => {
      const id = idOf(endOfText)!
      return { bosId: id, eosIds: [id] }
    })
  }
  if (tokenizer === undefined) return known!
  if (!existsSync(join(tokenizer, 'tokenizer.json')))
    throw new OptionError(`${printable(tokenizer)}: has no tokenizer.json; name the folder of a tokenizer`, {
      code: 'PARE_E_FIELD',
      facts: { field: 'train.data.tokenizer' },
    })
  return loadTokenizer(tokenizer)
}

const endOfText = '<|endoftext|>'

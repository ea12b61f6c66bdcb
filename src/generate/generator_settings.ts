/** What a generator may use, checked before weights are loaded. */
import type { LlamaConfig } from '../models/llama/config.ts'
import type { ProductActivations } from '../nn/values/packed_product.ts'
import { OptionError } from '../tensor/errors.ts'
import { sizeOf } from '../tensor/index.ts'

export interface TextGeneratorOptions {
  /**
   * Texts that are written at once, 1 to 1024; others wait for a place, first come, first served. One whose reader is far
   * behind does not count. @default 8
   */
  slots?: number
  /** Tokens of prompt and text together, at most. @default what the model was made for, or as many as `cacheBytes` hold */
  context?: number
  /** Bytes of the keys and values of all texts together; a text begins once those of all its tokens fit. @default 2^30 */
  cacheBytes?: number
  /** Tokens of prompts that are read in one step, beside the newest token of each text, 1 to 65536. @default 256 */
  pieceTokens?: number
  /**
   * `together`: the newest tokens of all texts are rows of one matrix, so that each weight is read once for all of them.
   * One text takes as long as four, but for packed weights. `apart`: one text after the other, each as fast as if it were
   * alone. What is written does not depend on other texts, either way. @default together, or apart with one slot
   */
  rows?: 'together' | 'apart'
  /** Number type of weights; bf16 takes half the memory. @default f32 */
  dtype?: 'f32' | 'bf16'
  /**
   * Keeps matrices on grids and in blocks packed, as much memory as the file, with floats or 8-bit codes as inputs of their
   * products; for `dtype` f32. @default false: all numbers in memory
   */
  packed?: ProductActivations | false
}

export type GeneratorSettings = Required<TextGeneratorOptions> & {
  /** Bytes of keys and values of one token. */
  tokenBytes: number
}

/** @throws OptionError with code PARE_E_GENERATOR; `facts.option` names the option. */
export function settingsFor(config: LlamaConfig, options: TextGeneratorOptions): GeneratorSettings {
  const { slots = 8, cacheBytes = 2 ** 30, pieceTokens = 256, dtype = 'f32', packed = false } = options
  const { rows = slots === 1 ? 'apart' : 'together' } = options
  need('slots', slots, whole(slots, 1, 1024), 'a whole number from 1 to 1024')
  need('pieceTokens', pieceTokens, whole(pieceTokens, 1, 65536), 'a whole number from 1 to 65536')
  need('rows', rows, rows === 'together' || rows === 'apart', 'together or apart')
  need('dtype', dtype, dtype === 'f32' || dtype === 'bf16', 'f32 or bf16')
  const ways = [false, ...(dtype === 'f32' ? (['f32', 'int8'] as const) : [])]
  need('packed', packed, ways.includes(packed), 'f32 or int8 beside a dtype of f32, or false')
  const numbers = config.layers.reduce((sum, { kvHeads }) => sum + 2 * kvHeads * config.headSize, 0)
  const tokenBytes = numbers * sizeOf(dtype)
  const least = `a whole number of at least ${tokenBytes}, the bytes of one token`
  need('cacheBytes', cacheBytes, whole(cacheBytes, tokenBytes, Number.MAX_SAFE_INTEGER), least)
  const held = Math.floor(cacheBytes / tokenBytes)
  const { context = Math.min(config.context, held) } = options
  const most = `a whole number from 1 to ${config.context}, the context of the model`
  need('context', context, whole(context, 1, config.context), most)
  need('context', context, context <= held, `at most the ${held} tokens that ${cacheBytes} cacheBytes hold`)
  return { slots, context, cacheBytes, pieceTokens, rows, dtype, packed, tokenBytes }
}

const whole = (value: number, least: number, most: number): boolean =>
  Number.isSafeInteger(value) && value >= least && value <= most

function need(option: keyof TextGeneratorOptions, value: unknown, fits: boolean, needed: string): void {
  if (fits) return
  throw new OptionError(`${option}: needs ${needed}, got ${value}`, {
    code: 'PARE_E_GENERATOR',
    facts: { option },
  })
}

/**
 * The mixes of llama.cpp: one name such as Q4_K_M gives each tensor of a GGUF file a type of its own.
 *
 *   n layers, layer i from 0; heads a key head = heads / keyHeads
 *   favoured(i) = i < n/8 or i >= 7n/8 or (i - n/8) mod 3 = 2, all divisions rounded down
 *
 * Rules of llama.cpp v0.4.0, src/llama-quant.cpp: `llama_ftype_get_default_type` (the type of most matrices),
 * `llama_tensor_get_type_impl` (what differs from it), `tensor_type_fallback` (rows that blocks do not divide),
 * `tensor_allows_quantization` (what is left alone). Architectures whose rules differ, such as falcon, are none that Pare
 * writes. Names are those of GGUF.
 */
import { type BlockTypeName, isBlockType, isCodedType, typeForRow } from '../../nn/block_types.ts'

/** The type of most matrices of each mix. */
const mainTypes = {
  F32: 'F32',
  F16: 'F16',
  BF16: 'BF16',
  Q4_0: 'Q4_0',
  Q4_1: 'Q4_1',
  Q5_0: 'Q5_0',
  Q5_1: 'Q5_1',
  Q8_0: 'Q8_0',
  IQ4_NL: 'IQ4_NL',
  Q2_K: 'Q2_K',
  Q2_K_S: 'Q2_K',
  Q3_K_S: 'Q3_K',
  Q3_K_M: 'Q3_K',
  Q3_K_L: 'Q3_K',
  Q4_K_S: 'Q4_K',
  Q4_K_M: 'Q4_K',
  Q5_K_S: 'Q5_K',
  Q5_K_M: 'Q5_K',
  Q6_K: 'Q6_K',
} as const satisfies Readonly<Record<string, BlockTypeName>>

/** Every mix that llama.cpp makes of types that Pare knows. */
export type GgufMixName = keyof typeof mainTypes
export const ggufMixNames = Object.keys(mainTypes) as GgufMixName[]

/** The mixes whose name is that of no block type: Q4_K alone is one type for all matrices. */
export type MixScheme = Exclude<GgufMixName, BlockTypeName>
export const mixSchemes = ggufMixNames.filter((name) => !isBlockType(name)) as MixScheme[]
/** What a GGUF file can be asked to be. */
export type GgufScheme = BlockTypeName | MixScheme
export const isMixScheme = (name: string): name is MixScheme =>
  (mixSchemes as readonly string[]).includes(name)

/** The type of most matrices; a block type is its own. */
export const mainTypeOf = (scheme: GgufScheme): BlockTypeName =>
  isMixScheme(scheme) ? mainTypes[scheme] : scheme

/** What of a model decides about the types of its tensors. */
export interface MixFacts {
  /** `llama`, `qwen2`: as in the file. */
  architecture: string
  layers: number
  heads: number
  /** Heads of keys and values. */
  keyHeads: number
  /** 0 where the feed-forward has none. @default 0 */
  experts?: number
  /** The file has no `output.weight`: the embedding is the head too. */
  tied: boolean
  /** The importance of inputs is known. */
  imatrix: boolean
}

export interface MixedType {
  /** What the mix asks for. */
  asked: BlockTypeName
  /** The same, or what stands in where its blocks do not divide the row. */
  type: BlockTypeName
}

/**
 * The type of a tensor in a mix; nothing for what stays as it is: norms, biases, routers.
 *
 * @param shape sizes, the row last
 * @example mixedType('Q4_K_M', 'blk.0.attn_v.weight', [256, 1024], facts)  // { asked: 'Q6_K', type: 'Q6_K' }
 */
export function mixedType(
  mix: GgufMixName,
  name: string,
  shape: readonly number[],
  facts: MixFacts,
): MixedType | undefined {
  if (shape.length < 2 || !/(?<!_norm|ffn_gate_inp)\.weight$/.test(name)) return undefined
  const columns = shape.at(-1)!
  const main = mainTypes[mix]
  if (!isCodedType(main)) return { asked: main, type: main }
  const asked = askedType(mix, name, columns, facts) ?? main
  return { asked, type: standIn(asked, columns) }
}

/** Where a tensor differs from the main type of its mix. */
function askedType(
  mix: GgufMixName,
  name: string,
  columns: number,
  facts: MixFacts,
): BlockTypeName | undefined {
  const isHead = name === 'output.weight' || (facts.tied && name === 'token_embd.weight')
  if (isHead) return headType(mainTypes[mix], columns)
  const [, layer, part] = /^blk\.(\d+)\.(\w+)\.weight$/.exec(name) ?? []
  if (layer === undefined) return undefined
  const isEightExperts = facts.experts === 8
  switch (part) {
    // A fused matrix of queries, keys and values counts as one of values.
    case 'attn_v':
    case 'attn_qkv':
      return isEightExperts ? 'Q8_0' : valueType(mix, Number(layer), facts)
    case 'attn_k':
      return isEightExperts ? 'Q8_0' : undefined
    case 'attn_output':
      return isEightExperts
        ? eightExpertsOutput.has(mix)
          ? 'Q5_K'
          : undefined
        : outputTypes[mix as keyof typeof outputTypes]
    case 'ffn_down':
    case 'ffn_down_exps':
      return downType(mix, Number(layer), facts)
    default:
      return undefined
  }
}

const headType = (main: BlockTypeName, columns: number): BlockTypeName =>
  main === 'Q8_0' || typeForRow(main, columns) !== main ? 'Q8_0' : 'Q6_K'

const isFavoured = (i: number, n: number): boolean => {
  const eighth = Math.floor(n / 8)
  return i < eighth || i >= Math.floor((7 * n) / 8) || (i - eighth) % 3 === 2
}

/** Values of heads that many queries share are few, and cost little. */
function valueType(mix: GgufMixName, i: number, facts: MixFacts): BlockTypeName | undefined {
  const { layers, heads, keyHeads } = facts
  const isShared = Math.floor(heads / keyHeads) >= 4
  const own = ((): BlockTypeName | undefined => {
    switch (mix) {
      case 'Q2_K':
        return isShared ? 'Q4_K' : 'Q3_K'
      case 'Q2_K_S':
        return isShared ? 'Q4_K' : undefined
      case 'Q3_K_M':
        return i < 2 ? 'Q5_K' : 'Q4_K'
      case 'Q3_K_L':
        return 'Q5_K'
      case 'IQ4_NL':
        return isShared ? 'Q5_K' : undefined
      case 'Q4_K_S':
        return i < 4 ? 'Q5_K' : undefined
      case 'Q4_K_M':
      case 'Q5_K_M':
        return isFavoured(i, layers) ? 'Q6_K' : undefined
      default:
        return undefined
    }
  })()
  const type = own ?? mainTypes[mix]
  return isSeventyBillion(facts) && (type === 'Q3_K' || type === 'Q4_K') ? 'Q5_K' : own
}

/** `LLM_TYPE_70B`, which llama.cpp tells by the number of layers. */
const isSeventyBillion = ({ architecture, layers, heads, keyHeads }: MixFacts): boolean =>
  layers === 80 && (architecture !== 'llama' || heads !== keyHeads)

const outputTypes = { Q2_K: 'Q3_K', Q3_K_M: 'Q4_K', Q3_K_L: 'Q5_K' } as const
const eightExpertsOutput: ReadonlySet<GgufMixName> = new Set([
  'Q2_K',
  'Q3_K_S',
  'Q3_K_M',
  'IQ4_NL',
  'Q4_K_S',
  'Q4_K_M',
])

function downType(mix: GgufMixName, i: number, { layers: n, imatrix }: MixFacts): BlockTypeName | undefined {
  const isEarly = i < Math.floor(n / 8)
  switch (mix) {
    case 'Q2_K':
      return 'Q3_K'
    case 'Q2_K_S':
      return isEarly ? 'Q4_K' : undefined
    case 'Q3_K_M':
      return i < Math.floor(n / 16) ? 'Q5_K' : 'Q4_K'
    case 'Q3_K_L':
      return 'Q5_K'
    case 'Q4_K_S':
      return isEarly ? 'Q5_K' : undefined
    case 'Q4_K_M':
    case 'Q5_K_M':
      return isFavoured(i, n) ? 'Q6_K' : undefined
    case 'IQ4_NL':
      return isEarly && !imatrix ? 'Q5_K' : undefined
    case 'Q4_0':
      return isEarly && imatrix ? 'Q4_1' : undefined
    case 'Q5_0':
      return isEarly && imatrix ? 'Q5_1' : undefined
    default:
      return undefined
  }
}

/** As `typeForRow`, but for Q2_K and Q3_K llama.cpp takes Q4_0, which more of its back ends compute than IQ4_NL. */
function standIn(asked: BlockTypeName, columns: number): BlockTypeName {
  const type = typeForRow(asked, columns)
  return type === 'IQ4_NL' && asked !== 'IQ4_NL' ? 'Q4_0' : type
}

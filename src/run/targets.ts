/**
 * The targets: for each the layouts of files that its program opens, and what that program asks of them. `planLayout` of
 * `target_plan.ts` plans any of them.
 *
 * Where the figures come from:
 *
 *   vLLM           Marlin: `MARLIN_SUPPORTED_GROUP_SIZES`, types of `query_marlin_supported_quant_types` (with zeros 4 bits
 *                  alone) in quantization/utils/marlin_utils.py; GPTQ: `TYPE_MAP` of auto_gptq.py; parts of one scheme:
 *                  `should_ignore_layer`, compressed_tensors/utils.py; compressed-tensors with zeros: #14211, 0.8.5
 *                  tiles: `GPTQ_MARLIN_MIN_THREAD_N` and `_K`; filled up: #45295, not in the wheel of 0.23.0, in 0.24.0
 *   transformers   quantizers/ in the wheels of 4.45 (compressed-tensors), 4.49 (gptqmodel, optimum), 5.0 (AWQ by
 *                  gptqmodel); compressed-tensors 0.18 is the layout of 3 bits
 *   mlx-lm         `config["quantization"][p]` in utils.py, read in the wheels of 0.20.4 and 0.21.0; 3 bits: mlx 0.22, which
 *                  0.21.0 asks for; groups: mlx.core.quantize
 *   onnxruntime    MatMulNBits on the CPU, run in the wheels of 1.17.3 to 1.32.0: 4 bits in all of them, 8 bits from 1.23 on
 *                  transformers.js 4.0.0 comes with 1.24
 *   llama.cpp      the last of what its GGUF files need: rotary divisors as a tensor (#8676) and the tokenizer of SmolLM
 *                  (#8609), July 2024
 */
import { OptionError } from '../tensor/errors.ts'
import { type FormatFacts, type FormatName, formatFacts } from './target_formats.ts'

export interface Program {
  readonly name: string
  /** The least version that opens the result. */
  readonly version: string
}

/** What a program asks of the levels of linear weights. */
export interface LevelRules {
  readonly bits: readonly number[]
  /** Columns per scale, the default first; those behind it stand in where it does not divide the rows. */
  readonly groupSizes: readonly (number | 'row')[]
  /** What is stored where nobody says. */
  readonly symmetric: boolean
  /** Widths that may have zeros. */
  readonly zeros: readonly number[]
  /** What a program has to be told to load zeros. */
  readonly zerosNeed?: string
  /** Who asks, for messages. */
  readonly why: string
  /** Rows and columns that its fast kernel divides into; from a version on it fills others up. */
  readonly tiles?: { readonly rows: number; readonly columns: number; readonly from: string }
}

export interface Layout {
  readonly format: FormatName
  /** The program first, then packages that it loads the format with. */
  readonly needs: readonly Program[]
  /** Absent where the format alone decides. */
  readonly levels?: LevelRules
}

export interface Target {
  /** For the model card: who reads it. */
  readonly readers: string
  /** `library_name` of the hub. */
  readonly library: string
  /** The default first. */
  readonly layouts: readonly [Layout, ...Layout[]]
  /** Block type or mix where nobody says. */
  readonly scheme?: string
  /** Queries, keys and values are computed as one matrix, and so are gate and up: they must be stored alike. */
  readonly fused?: boolean
}

const vllm = (version: string) => [{ name: 'vLLM', version }]
const marlin = {
  groupSizes: [128, 64, 32, 'row'],
  why: 'vLLM',
  tiles: { rows: 64, columns: 128, from: '0.24.0' },
} as const
const transformers = (version: string, ...packages: [name: string, version: string][]) => [
  { name: 'transformers', version },
  ...packages.map(([name, version]) => ({ name, version })),
]
/** What the readers of a format take, where none of their kernels asks for less. */
const any = {
  bits: [2, 3, 4, 8],
  groupSizes: [128, 64, 32, 'row'],
  symmetric: false,
  zeros: [2, 3, 4, 8],
} as const
const matMulNBits = {
  bits: [4, 8],
  groupSizes: [32, 64, 128, 16, 256],
  symmetric: true,
  zeros: [4, 8],
  why: 'onnxruntime',
} as const

export const targetTable = {
  gguf: {
    readers: 'llama.cpp and what builds on it',
    library: 'gguf',
    layouts: [{ format: 'gguf', needs: [] }],
  },
  gptq: {
    readers: 'transformers, vLLM and others that read GPTQ checkpoints',
    library: 'transformers',
    layouts: [
      { format: 'gptq', needs: [] },
      { format: 'gptq_v2', needs: [] },
    ],
  },
  pare: { readers: 'Pare', library: 'pare', layouts: [{ format: 'pare', needs: [] }] },
  vllm: {
    readers: 'vLLM',
    library: 'transformers',
    fused: true,
    layouts: [
      {
        format: 'compressed-tensors',
        needs: vllm('0.8.5'),
        levels: { ...marlin, bits: [4, 8], symmetric: true, zeros: [4] },
      },
      {
        format: 'gptq',
        needs: vllm('0.8.5'),
        levels: { ...marlin, bits: [4, 8], symmetric: true, zeros: [] },
      },
      {
        format: 'gptq_v2',
        needs: vllm('0.8.5'),
        levels: { ...marlin, bits: [4, 8], symmetric: true, zeros: [] },
      },
      {
        format: 'awq',
        needs: vllm('0.8.5'),
        levels: { ...marlin, bits: [4], symmetric: false, zeros: [4] },
      },
    ],
  },
  'llama.cpp': {
    readers: 'llama.cpp and what builds on it',
    library: 'gguf',
    scheme: 'Q4_K_M',
    layouts: [{ format: 'gguf', needs: [{ name: 'llama.cpp', version: 'b3500' }] }],
  },
  transformers: {
    readers: 'transformers',
    library: 'transformers',
    layouts: [
      {
        format: 'compressed-tensors',
        needs: transformers('4.45.0', ['compressed-tensors', '0.18.0']),
        // Without it 0.18 to 0.20 expect zeros unpacked, and refuse.
        levels: {
          ...any,
          symmetric: true,
          zerosNeed: 'CompressedTensorsConfig(dequantize=True)',
          why: 'compressed-tensors',
        },
      },
      {
        format: 'gptq',
        needs: transformers('4.49.0', ['gptqmodel', '1.4.3'], ['optimum', '1.24.0']),
        levels: { ...any, symmetric: true, why: 'gptqmodel' },
      },
      {
        format: 'gptq_v2',
        needs: transformers('4.49.0', ['gptqmodel', '1.4.3'], ['optimum', '1.24.0']),
        levels: { ...any, symmetric: true, why: 'gptqmodel' },
      },
      {
        format: 'awq',
        needs: transformers('5.0.0', ['gptqmodel', '5.0.0']),
        levels: { ...any, bits: [4], zeros: [4], why: 'AWQ' },
      },
    ],
  },
  mlx: {
    readers: 'mlx-lm and LM Studio',
    library: 'mlx',
    layouts: [
      {
        format: 'mlx',
        needs: [{ name: 'mlx-lm', version: '0.21.0' }],
        levels: { ...any, groupSizes: [64, 32, 128], why: 'mlx' },
      },
    ],
  },
  'transformers.js': {
    readers: 'transformers.js',
    library: 'transformers.js',
    layouts: [
      {
        format: 'transformers.js',
        needs: [{ name: 'transformers.js', version: '4.0.0' }],
        levels: matMulNBits,
      },
    ],
  },
  onnx: {
    readers: 'onnxruntime',
    library: 'onnx',
    layouts: [{ format: 'onnx', needs: [{ name: 'onnxruntime', version: '1.23.0' }], levels: matMulNBits }],
  },
} as const satisfies Readonly<Record<string, Target>>

export type TargetName = keyof typeof targetTable
export const targetNames = Object.keys(targetTable) as [TargetName, ...TargetName[]]

export const targetOf = (name: TargetName): Target => targetTable[name]

/** Formats that can be asked for: those of targets that have several. */
export const choosableFormats = [
  ...new Set(
    targetNames.flatMap((name) => {
      const { layouts } = targetOf(name)
      return layouts.length > 1 ? layouts.map(({ format }) => format) : []
    }),
  ),
] as [FormatName, ...FormatName[]]

/** A target with the layout that was chosen for it. */
export interface ChosenTarget {
  readonly name: TargetName
  readonly target: Target
  readonly layout: Layout
  readonly facts: FormatFacts
}

/**
 * The layout of a target, the first where none is asked for.
 *
 * @throws OptionError for a format that the target has not.
 * @example chosenTarget('vllm', 'awq').layout.needs  // [{ name: 'vLLM', version: '0.8.5' }]
 */
export function chosenTarget(name: TargetName, format?: FormatName): ChosenTarget {
  const target = targetOf(name)
  const { layouts } = target
  const [first] = layouts
  const layout = format === undefined ? first : layouts.find((one) => one.format === format)
  if (layout === undefined) {
    const possible = layouts.map((one) => one.format)
    throw new OptionError(
      possible.length === 1
        ? `--format: --target ${name} has one, ${first.format}, got ${format}; leave it out, or choose --target vllm or transformers`
        : `--format: --target ${name} takes ${possible.join(', ')}, got ${format}; choose one of them`,
      { code: 'PARE_E_FORMAT', facts: { target: name, possible } },
    )
  }
  return { name, target, layout, facts: formatFacts(layout.format) }
}

/** Whether nobody needs to be told of a format: it is the first of its target. */
export const isDefaultFormat = (name: TargetName, format: FormatName): boolean =>
  targetOf(name).layouts[0]?.format === format

/** `transformers 4.49.0 or newer, with gptqmodel 1.4.3 and optimum 1.24.0`; nothing where no program is named. */
export function programsText(programs: readonly Program[]): string | undefined {
  const [program, ...packages] = programs.map(({ name, version }) => `${name} ${version}`)
  if (program === undefined) return undefined
  return packages.length === 0 ? `${program} or newer` : `${program} or newer, with ${packages.join(' and ')}`
}

/**
 * Options that only some methods read, each declared once: what it may hold, how it is typed, and when to change it.
 * The table of methods says which methods read them, and with which default.
 */
import { z } from 'zod'

export interface OwnField {
  readonly schema: z.ZodType
  /** What follows the flag: `<x>`; nothing for one that is switched on. */
  readonly value?: string
  /** What it may be, for people. */
  readonly range: string
  /** What it does, and when to change it. */
  readonly help: string
}

const whole = (least: number, most: number) => {
  const need = `a whole number from ${least} to ${most}`
  return {
    schema: z.int({ error: need }).min(least, { error: need }).max(most, { error: need }),
    value: '<n>',
    range: need,
  }
}
const onOrOff = { schema: z.boolean({ error: 'true or false' }), range: 'on or off' }
const number = (need: string, fits: (x: number) => boolean) => ({
  schema: z.number({ error: need }).refine(fits, { error: need }),
  value: '<x>',
  range: need,
})
const choice = <const Values extends readonly [number, ...number[]]>(values: Values) => ({
  schema: z.literal(values, { error: `one of ${values.join(', ')}` }),
  value: '<n>',
  range: values.join(', '),
})
const oneOf = <const Names extends readonly [string, ...string[]]>(names: Names) => ({
  schema: z.enum(names, { error: `one of ${names.join(', ')}` }),
  value: '<name>',
  range: names.join(', '),
})
const patternNeed =
  'unstructured, N:M such as 2:4, which keeps N of every M, or for obs 1xC such as 1x4, neighbours together'

export const ownFields = {
  sparsity: {
    ...number('a share from 0 to 1', (x) => x >= 0 && x <= 1),
    help: 'share of the weights that become 0, where the pattern does not say it; 0.5 is usual, more is worse quickly',
  },
  pattern: {
    schema: z
      .string({ error: patternNeed })
      .regex(/^(unstructured|[1-9]\d{0,2}:[1-9]\d{0,2}|1x[1-9]\d?)$/, { error: patternNeed }),
    value: '<text>',
    range: patternNeed,
    help: 'where zeros may fall; N:M for hardware that skips them, worse than unstructured at the same share',
  },
  lazyBlock: {
    ...whole(1, 65_536),
    help: 'columns between two corrections of all later ones; changes speed, not results',
  },
  inclusive: {
    ...onOrOff,
    help: 'the count of the published code, one more of each slab, to compare with it',
  },
  variant: {
    ...onOrOff,
    help: 'rows get the zeros that their sums of scores allow, not all the same number; try it where outputs differ much',
  },
  scope: {
    ...oneOf(['layer', 'row']),
    help: 'whose weights are ranked together; rows of their own keep every output alive',
  },
  blockSize: {
    ...whole(1, 65_536),
    help: 'columns that are decided before later ones are corrected; for sparsegpt also those whose zeros are chosen at once: 16 to 256 are alike, 1 is worse',
  },
  numbers: {
    ...oneOf(['f16', 'bf16', 'f32']),
    help: 'type of the weights that are left; bf16 where they go past 65504',
  },
  selection: {
    ...oneOf(['heap', 'sort', 'row']),
    help: 'how rows share the zeros: by the cheapest next one, by the number of cheap ones, or evenly; row for kernels that need rows alike',
  },
  obqOrder: {
    ...oneOf(['greedy', 'columns']),
    help: 'the weight that costs least, or the columns from first to last as gptq takes them',
  },
  scaleBits: { ...whole(1, 8), help: 'bits of a scale, which are codes themselves' },
  zeroBits: { ...whole(1, 8), help: 'bits of a zero' },
  tileRows: {
    ...whole(1, 1024),
    help: 'for spqr the rows that share the scales of scales and zeros: 1, 2, 4, 8 or 16; for aqlm the rows of an entry, of which programs want 1',
  },
  tileColumns: { ...whole(1, 1024), help: 'columns of an entry of a codebook; 16 halves the bits of 8' },
  books: {
    ...whole(1, 8),
    help: 'codebooks whose entries are added; each adds its bits to the code of a tile',
  },
  bookBits: {
    ...whole(1, 16),
    help: 'bits of a code; a codebook has 2^bits entries, so that small weights want fewer, whose codebooks cost as much as their codes',
  },
  beam: {
    ...whole(1, 4096),
    help: 'hypotheses of the search for codes; 4 to 8 find better ones below 2 bits, in proportionally more time',
  },
  rounds: {
    ...whole(0, 10_000),
    help: 'rounds of descent and search at most; more where the loss still falls and time does not matter',
  },
  tolerance: {
    ...number('a number from 0 to 1', (x) => x >= 0 && x <= 1),
    help: 'ends where a round lowers the least loss by less than this share',
  },
  adamSteps: { ...whole(0, 100_000), help: 'steps of Adam in a round, which take most of the time' },
  learningRate: {
    ...number('a number above 0, up to 10', (x) => x > 0 && x <= 10),
    help: 'for aqlm of the steps of adam-steps; for omniquant of the ranges, smaller where its loss jumps',
  },
  kMeansRounds: { ...whole(1, 100_000), help: 'rounds of k-means for each codebook at the start, at most' },
  blockEpochs: {
    ...whole(0, 10_000),
    help: 'passes over the calibration text in which codebooks, scales and norms of a block learn from what the block of the source puts out; 5 is usual, 0 leaves it out',
  },
  blockRate: {
    ...number('a number above 0, up to 10', (x) => x > 0 && x <= 10),
    help: 'learning rate of block-epochs; 1e-4 for models of some million weights',
  },
  blockPatience: {
    ...whole(1, 10_000),
    help: 'passes of block-epochs without a better loss on the held text after which they end',
  },
  blockHeld: {
    ...number('a share from 0 to below 1', (x) => x >= 0 && x < 1),
    help: 'share of the calibration text that only judges the passes of block-epochs; without any the last pass is kept',
  },
  modelEpochs: {
    ...whole(0, 10_000),
    help: 'passes over the calibration text in which codebooks, scales and norms of all blocks learn the distributions of the source, once all weights have codes; 5 is usual, 0 leaves it out',
  },
  modelRate: {
    ...number('a number above 0, up to 10', (x) => x > 0 && x <= 10),
    help: 'learning rate of model-epochs; 1e-4 for models of some million weights',
  },
  modelPatience: {
    ...whole(1, 10_000),
    help: 'passes of model-epochs without a better KL on the held text after which they end',
  },
  modelHeld: {
    ...number('a share from 0 to below 1', (x) => x >= 0 && x < 1),
    help: 'share of the calibration text that only judges the passes of model-epochs; without any the last pass is kept',
  },
  modelBatch: {
    ...whole(1, 65_536),
    help: 'samples of one step of model-epochs; fewer take more steps and learn more a pass, and are noisier',
  },
  epochs: {
    ...whole(0, 10_000),
    help: 'passes over the calibration text in which the ranges learn; time is in proportion, 0 leaves it out',
  },
  batch: {
    ...whole(1, 65_536),
    help: 'samples of one step; more are faster and learn less a pass',
  },
  secondOrder: {
    ...onOrOff,
    help: 'scales and zeros are codes; without it each is an f16, about 1.4 bits a weight more',
  },
  outlierThreshold: {
    ...number('a number from 0 to 1000000', (x) => x >= 0 && x <= 1e6),
    help: 'smaller keeps more outliers, 32 bits each: 0 keeps all, 0.1 to 0.5 about one in a hundred',
  },
  simplifiedOutliers: {
    ...onOrOff,
    help: 'groups are fitted with their outliers, which is faster and worse',
  },
  roundZero: { ...onOrOff, help: 'zeros are whole codes and 0 is a level: fewer bits, larger errors' },
  losses: {
    ...oneOf(['measured', 'theory']),
    help: 'losses of a sweep at one rate, or what theory expects of them, which is half the work',
  },
  exponent: {
    ...number('a number above 0, up to 10', (x) => x > 0 && x <= 10),
    help: 'slope of losses over bits: 2 by theory, less as it was measured',
  },
  centred: {
    ...onOrOff,
    help: 'columns of two levels have them around the middle of the range; pays below 3 bits',
  },
  integerBits: {
    ...onOrOff,
    help: 'levels are powers of two, for kernels that read whole bits; a bit worse',
  },
  rho: {
    ...number('a number from 0.1 to 100', (x) => x >= 0.1 && x <= 100),
    help: 'the outermost levels, in root mean squares of the matrix; 2.4 as published, about 1.6 loses a third less at 2 bits, and 8 bits want 4',
  },
  rounding: {
    ...oneOf(['ldlq', 'nearest']),
    help: 'each column with what others lost, or each weight alone, which shows what turning the matrix gives by itself',
  },
  greedyPasses: {
    ...whole(0, 100),
    help: 'passes over all codes afterwards at most, each to its best level while others stay: about a twentieth less loss, in about the time of the rounding',
  },
  rank: {
    ...whole(0, 65_536),
    help: 'columns and rows of the two thin matrices; each costs inputs + outputs numbers, and the loss never grows with it',
  },
  space: {
    ...oneOf(['eigen', 'activation', 'svd']),
    help: 'where the error is measured: at the outputs on the calibration text, with inputs by their size alone, or in the weights; the last two are baselines',
  },
  factorBits: {
    ...choice([3, 4, 8]),
    help: 'bits of the numbers of the two thin matrices; 4 costs a quarter of f16, for ranks above 16',
  },
  factorGroupSize: {
    ...whole(1, 65_536),
    help: 'numbers of the thin matrices that share a scale, with factor-bits; smaller is better and takes more',
  },
  factorRounding: {
    ...oneOf(['gptq', 'rtn']),
    help: 'how the thin matrices are rounded, with factor-bits; rtn is faster and worse',
  },
  rotateHeads: {
    ...onOrOff,
    help: 'also rotates what each head puts together from its values; try it where the inputs of the o layers have outliers',
  },
  gridPoints: {
    ...whole(1, 1000),
    help: 'strengths of the scales that are tried, of which 1 is none; fewer are faster and a little worse',
  },
  duoScaling: {
    ...onOrOff,
    help: 'scales look at the sizes of weights too; try it where the report says that scales gain little',
  },
  clip: {
    ...onOrOff,
    help: 'cuts the largest weights of groups where that lowers the error; off leaves what the model computes as it is',
  },
  searchTokens: {
    ...whole(1, 2 ** 31),
    help: 'tokens that the errors of scales are measured with; time is in proportion, and few are enough',
  },
  clipTokens: { ...whole(1, 2 ** 31), help: 'tokens that cuts are measured with' },
  alpha: {
    ...number('a number from 0 to 1', (x) => x >= 0 && x <= 1),
    help: 'how much of the outliers of activations moves into the weights; 0.8 to 0.9 where they are large, as in Llama and Mistral',
  },
} as const satisfies Readonly<Record<string, OwnField>>

/** Read by methods of several kinds. At 100 times the mean, what inputs have to do with each other no longer counts. */
export const dampingField = number('a number above 0, up to 100', (x) => x > 0 && x <= 100)

export type OwnFieldName = keyof typeof ownFields
export const ownFieldNames = Object.keys(ownFields) as OwnFieldName[]

/** `N:M` as numbers; nothing for `unstructured`. */
export function groupsOfPattern(pattern: string): { n: number; m: number } | undefined {
  const [, n, m] = /^(\d+):(\d+)$/.exec(pattern) ?? []
  return n === undefined ? undefined : { n: Number(n), m: Number(m) }
}

/** What is given for the fields of its names. */
export type OwnOptions = {
  readonly [Name in OwnFieldName]?: z.output<(typeof ownFields)[Name]['schema']>
}

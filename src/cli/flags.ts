/** The options of the commands, under headings. Their defaults stand in src/run/compress_options.ts. */
import { type Command, Option } from 'commander'
import type { CompressOptions } from '../run/compress_options.ts'
import { sensitivityNames } from '../run/mix/mix_options.ts'
import { flagName, stepFields } from '../run/option_fields.ts'
import type { Override } from '../run/override.ts'
import { type OwnField, type OwnFieldName, ownFieldNames, ownFields } from '../run/own_fields.ts'
import { recipeOptions } from '../run/recipe_options.ts'
import { stepMethod, stepMethodNames } from '../run/step_methods.ts'
import { choosableFormats, targetNames } from '../run/targets.ts'
import type { WeightStep } from '../run/weight_step.ts'
import {
  atLeast1,
  damping,
  groupSize,
  levels,
  override,
  ownValue,
  positive,
  size,
  whole,
} from './arguments.ts'
import { addMethodHelp } from './method_help.ts'
import { addSteps } from './typed_steps.ts'

export const modelArgument = 'path, pypi:NAME==VERSION, npm:NAME@VERSION or hf:ORG/NAME'

/** What the result is. */
export function addResultFlags(command: Command): Command {
  return command
    .optionsGroup('Result:')
    .addOption(
      new Option(
        '--target <name>',
        'the program that the result is for, whose rules hold then: llama.cpp, vllm, transformers, mlx, transformers.js, onnx for onnxruntime, or pare for Pare itself. gguf and gptq are those formats for whoever reads them (default: pare)',
      ).choices(targetNames),
    )
    .addOption(
      new Option(
        '--format <name>',
        'how the files are laid out, for vllm and transformers; gptq has the first two of GPTQ (default: compressed-tensors; gptq for gptq)',
      ).choices(choosableFormats),
    )
    .option(
      '--scheme <type>',
      'type of the weights in a GGUF file, such as Q8_0, Q6_K, Q4_K, IQ4_NL, Q3_K: fewer bits are smaller and worse. Or a mix of llama.cpp, which has a type for each tensor: Q2_K_S, Q3_K_S, Q3_K_M, Q3_K_L, Q4_K_S, Q4_K_M, Q5_K_S or Q5_K_M. A type that does not fit a row is replaced and noted. For gguf and llama.cpp (default: Q4_K; Q4_K_M for llama.cpp)',
    )
    .option(
      '--bits <n>',
      '2, 3, 4 or 8 bits a code; spqr takes 2 to 8, baq any number from 1 to 8: 8 and 4 lose little, 3 more, 2 a lot. vLLM, onnx and transformers.js take 4 and 8. Not for gguf and llama.cpp (default: 4)',
      atLeast1,
    )
    .option(
      '--group-size <n>',
      'inputs that share a scale, from 1, or "row" (also -1) for one scale a row. Smaller groups are better and take more space; try 32 at 2 and 3 bits. Not for gguf and llama.cpp (default: 64; 32 for onnx and transformers.js; for vllm and transformers the first of 128, 64, 32 that divides all rows)',
      groupSize,
    )
    .option(
      '--symmetric',
      'no zero is stored: a little smaller and worse; for runtimes that know no other. Not for gguf and llama.cpp (default: on for vllm, transformers, onnx and transformers.js, but not for AWQ)',
    )
    .option('--no-symmetric', 'zeros are stored too')
    .option(
      '--target-size <size>',
      'bytes of the weight files at most, such as 60MB or 58MiB: a width is chosen for every matrix, so that the result is at most 1% smaller and as good as it can be. Not for GPTQ and AWQ, which have one width (default: none)',
      size,
    )
    .option(
      '--target-bpw <x>',
      'the same as bits a weight over the whole file, such as 3.25 (default: none)',
      positive,
    )
    .option(
      '--levels <list>',
      'with a target size: widths that a matrix may have, such as 3,4,8 or Q3_K,Q4_K,Q6_K (default: 2,3,4,8; Q2_K to Q6_K and Q8_0 for gguf and llama.cpp)',
      levels,
    )
    .option(
      '--embedding <type>',
      'type of the embedding and the head: keep (gguf), F16, BF16, Q8_0, Q6_K, ... For gguf, llama.cpp and pare; F32 or F16 for onnx and transformers.js, for all weights that are no codes (default: as in a GGUF source, else Q6_K for gguf; F32 for onnx and transformers.js, F16 with --activations F16; half floats for all others)',
    )
    .addOption(
      new Option(
        '--activations <type>',
        'what the network computes in, F32 or F16. F16 is faster on some GPUs, and logits differ by some 1e-3 of the largest; it takes weights in F16. For onnx and transformers.js (default: F32)',
      ).choices(['F32', 'F16']),
    )
    .option(
      '--no-fallback',
      'gguf: fail where a type does not fit a row, instead of storing another type there',
    )
    .option(
      '--shard-size <size>',
      'weights in one safetensors file at most, such as 5GB or 500MB; more get several files and an index. Not for gguf, llama.cpp, onnx and transformers.js (default: 5GB)',
      size,
    )
    .option(
      '--override <rule>',
      'PATTERN=scheme:Q5_K, PATTERN=bits:8,group-size:32,symmetric or PATTERN=keep: how the tensors are stored that the pattern matches, such as model.layers.0.**, lm_head or re:down_proj. May be repeated; later ones win (default: none)',
      override,
    )
    .option(
      '--recipe <file>',
      'a .yaml or .json file with all of these options, steps and overrides; what is typed wins over it (default: none)',
    )
}

/** How it is computed. */
export function addMethodFlags(command: Command): Command {
  command
    .optionsGroup('Method:')
    .addOption(
      new Option(
        '--method <name>',
        `what is done to the weights; pare compress --method NAME --help tells its options. ${stepMethodNames.map((name) => `${name}: ${stepMethod(name).summary}`).join('. ')} (default: gptq)`,
      ).choices(stepMethodNames),
    )
    .option(
      '--act-order',
      'gptq: the inputs with the most energy first; much better at 2 and 3 bits (default: on, but for gguf and llama.cpp)',
    )
    .option('--no-act-order', 'gptq: inputs in the order of the file')
    .option(
      '--static-groups',
      'with --act-order: groups stay neighbours, so that no runtime is slower (default: on; for gptq and pare off with --symmetric)',
    )
    .option(
      '--no-static-groups',
      'with --act-order: groups follow it, as in the first published code; readers need g_idx',
    )
    .option(
      '--search',
      'search a narrower range for every group: slow, helps at 2 and 3 bits with rtn. Not for gguf and llama.cpp',
    )
    .addOption(new Option('--no-search', '--search is off').hideHelp())
    .option('--no-true-sequential', 'gptq: the weights of a block do not see each other compressed')
    .option(
      '--damping <x>',
      'gptq: added to the diagonal of the inputs’ second moments, as a share of its mean, above 0 and up to 100. More where a weight is reported as singular (default: 0.01)',
      damping,
    )
    .option(
      '--imatrix <file>',
      'rtn: how much each input is used, as pare imatrix and llama-imatrix write it: scales are fitted to the inputs that matter. For gguf and llama.cpp (default: none)',
    )
    .addOption(
      new Option(
        '--on-singular <what>',
        'gptq: stop, or round to nearest, where no damping helps (default: throw)',
      ).choices(['throw', 'round']),
    )
    .addOption(
      new Option(
        '--sensitivity <how>',
        'with a target size: measured compares widths by the KL to the source with one matrix replaced, in minutes to hours, once a model; error by the share of its output that the matrix loses, in about the time of a compression (default: measured)',
      ).choices(sensitivityNames),
    )
    .option(
      '--sensitivity-windows <n>',
      'windows of 64 tokens of the calibration text that the KL is measured on; more are slower and less noisy (default: 4)',
      whole(1),
    )
  for (const name of ownFieldNames) {
    const { value, range, help }: OwnField = ownFields[name]
    const readers = stepMethodNames.filter((method) => Object.hasOwn(stepMethod(method).options, name))
    if (readers.length > 0)
      addOwn(command, name, {
        value,
        text: `${readers.join(', ')}: ${help}; ${range} (default: ${defaultsOf(name)})`,
      })
  }
  return addMethodHelp(addSteps(command))
}

/** `0.01`, or what each method has where they differ. */
function defaultsOf(name: OwnFieldName): string {
  const byMethod = stepMethodNames.flatMap((method) => {
    const text: string | undefined = stepMethod(method).options[name]
    return text === undefined ? [] : [[method, text] as const]
  })
  const texts = new Set(byMethod.map(([, text]) => text))
  return texts.size === 1
    ? [...texts][0]!
    : byMethod.map(([method, text]) => `${text} for ${method}`).join(', ')
}

/** An option with a value, or one that is switched on and off; what it is without either, its method says. */
function addOwn(
  command: Command,
  name: OwnFieldName,
  { value, text }: { value: string | undefined; text: string },
) {
  if (value === undefined) {
    command.option(flagName(name), text)
    const isUsual = stepMethodNames.some((method) => stepMethod(method).options[name]?.startsWith('on'))
    const off = new Option(`--no-${flagName(name).slice(2)}`, `${flagName(name)} is off`)
    command.addOption(isUsual ? off : off.hideHelp())
  } else command.option(`${flagName(name)} ${value}`, text, ownValue(name))
}

export function addCalibrationFlags(command: Command): Command {
  return command
    .optionsGroup('Calibration:')
    .option(
      '--calib <file...>',
      'text like that the model will see: .txt, or .jsonl with rows {"text": ...} or {"messages": [...]}. Replace it for other languages, code or chat (default: English prose that comes with Pare)',
    )
    .option(
      '--samples <n>',
      'pieces of the text that are used; more are slower and a little better (default: 40)',
      whole(1),
    )
    .option('--length <n>', 'tokens a sample (default: 512)', whole(1))
    .option('--seed <n>', 'which pieces are drawn; the same seed gives the same bytes (default: 0)', whole(0))
}

export function addEvaluationFlags(command: Command): Command {
  return command
    .optionsGroup('Evaluation:')
    .option(
      '--text <file...>',
      'text to evaluate with, joined by two newlines (default: English prose that comes with Pare)',
    )
    .option(
      '--context <n>',
      'tokens a window, from 2. Figures are comparable at the same context only (default: 512)',
      whole(2),
    )
    .option(
      '--windows <n>',
      'windows at most; more are slower and narrow the standard error (default: 20)',
      whole(1),
    )
    .option(
      '--every <n>',
      'take every n-th window, to spread few windows over a long text (default: 1)',
      whole(1),
    )
}

/** The plan's range of time. */
export const addProbeFlag = (command: Command): Command =>
  command
    .optionsGroup('Running:')
    .option(
      '--no-probe',
      'do not measure kernels for the time that the plan tells, which takes up to three seconds',
    )

/** What the process may take. */
export const addMemoryFlag = (command: Command): Command =>
  command
    .optionsGroup('Running:')
    .option(
      '--max-memory <size>',
      'resident memory at most, such as 2GB or 600MB: the run works in smaller pieces, and refuses to start where none are small enough. The weights are the same (default: no limit)',
      size,
    )

/** What does not change the result. */
export function addRunFlags(command: Command, json: string, { threads = false } = {}): Command {
  command.optionsGroup('Running:').option('--offline', 'use only what is on this disk; fetch nothing')
  if (threads)
    command.option(
      '--threads <n>',
      'threads to compute with; the result does not depend on it (default: all cores)',
      whole(1),
    )
  return command
    .option('--json', json)
    .addHelpOption(new Option('-h, --help', 'show this help').helpGroup('Running:'))
}

interface Flags extends Omit<CompressOptions, 'source' | 'output' | 'calibration' | 'overrides'> {
  output?: string
  calib?: string[]
  override?: Override[]
  maxKl?: number
  targetSize?: number
  targetBpw?: number
  maxMemory?: number
  recipe?: string
  then?: string
}

/** The options of the API from those that were typed; what was not typed is as the recipe says, or has its default. */
export function toOptions(
  source: string | undefined,
  { calib, override, maxKl, maxMemory, targetSize, targetBpw, recipe, then: _then, ...typed }: Flags,
  steps?: readonly WeightStep[],
): CompressOptions & { threads?: number } {
  // Behind --then each step has its own.
  const flags = steps
    ? Object.fromEntries(Object.entries(typed).filter(([name]) => !Object.hasOwn(stepFields, name)))
    : typed
  const written = recipe === undefined ? { source: '', output: '' } : recipeOptions(recipe)
  // One size at a time: the one that is typed takes the place of the other.
  const { targetSize: _, targetBpw: __, ...others } = written.limits ?? {}
  const before = targetSize === undefined && targetBpw === undefined ? written.limits : others
  const limits = Object.fromEntries(
    Object.entries({ maxKl, maxMemory, targetSize, targetBpw }).filter(([, value]) => value !== undefined),
  )
  return {
    ...written,
    ...flags,
    ...(steps ? { steps } : {}),
    source: source ?? written.source,
    ...(calib ? { calibration: calib } : {}),
    ...(Object.keys(limits).length === 0 ? {} : { limits: { ...before, ...limits } }),
    ...(override ? { overrides: [...(written.overrides ?? []), ...override] } : {}),
  }
}

/** What was typed, without the values that commander fills in. */
export function typedFlags(command: Command): Record<string, unknown> {
  return Object.fromEntries(
    Object.entries(command.opts()).filter(([name]) => command.getOptionValueSource(name) === 'cli'),
  )
}

/** Without a recipe, a model must be typed, and what else `needs` names. */
export function checkTyped(command: Command, model: string | undefined, needs: readonly string[]): void {
  const typed = typedFlags(command)
  if (typed.recipe !== undefined) return
  if (model === undefined) command.error("error: missing required argument 'model' (or --recipe <file>)")
  const missing = command.options.find(
    (option) => needs.includes(option.long!) && typed[option.attributeName()] === undefined,
  )
  if (missing) command.error(`error: required option '${missing.flags}' not specified`)
}

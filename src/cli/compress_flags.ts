/** The options that `plan` and `compress` share. Their defaults stand in src/run/compress_options.ts. */
import { type Command, Option } from 'commander'
import { quantizers } from '../quantize/methods.ts'
import { type CompressOptions, targets } from '../run/compress_options.ts'
import { groupSize, positive, whole } from './arguments.ts'

export function addCompressFlags(command: Command): Command {
  return command
    .addOption(
      new Option('--method <name>', 'how weights are rounded (default: gptq)').choices(
        Object.keys(quantizers),
      ),
    )
    .addOption(new Option('--target <name>', 'what is written (default: pare)').choices(targets))
    .option(
      '--scheme <type>',
      'block type of GGUF files, e.g. Q3_K, Q4_K, IQ4_NL; --target gguf only (default: Q4_K)',
    )
    .option('--bits <n>', 'bits a code: 2, 3, 4 or 8; --target gptq or pare (default: 4)', whole(1))
    .option(
      '--group-size <n>',
      'columns per scale, or "row"; smaller is better and larger (default: 64)',
      groupSize,
    )
    .option('--symmetric', 'zero in the middle of the codes; for runtimes that know no other')
    .option('--search', 'search a narrower range for every group; slow, helps at 2 and 3 bits without gptq')
    .option('--act-order', 'gptq: inputs with the most energy first; better at 2 and 3 bits')
    .option(
      '--static-groups',
      'with --act-order: groups stay neighbours, so that it costs nothing at run time',
    )
    .option('--no-true-sequential', 'gptq: weights of a block do not see each other compressed; slower here')
    .option('--damping <x>', 'gptq: added to the diagonal, as a share of its mean (default: 0.01)', positive)
    .addOption(
      new Option('--on-singular <what>', 'gptq: where no damping helps (default: throw)').choices([
        'throw',
        'round',
      ]),
    )
    .option(
      '--embedding <type>',
      'type of embedding and head: keep, F16, Q8_0, ... (default: what fits the target)',
    )
    .option(
      '--no-fallback',
      'fail where 256 does not divide the rows of a K type, instead of storing another type',
    )
}

export function addCalibrationFlags(command: Command): Command {
  return command
    .option(
      '--calib <file...>',
      'text (.txt) or rows (.jsonl with text or messages) to calibrate with (default: ships with Pare)',
    )
    .option('--samples <n>', 'calibration samples (default: 40)', whole(1))
    .option('--length <n>', 'tokens a sample (default: 512)', whole(1))
    .option('--seed <n>', 'which samples are drawn (default: 0)', whole(0))
}

export function addEvaluationFlags(command: Command): Command {
  return command
    .option('--text <file...>', 'text to evaluate with, joined by two newlines (default: ships with Pare)')
    .option('--context <n>', 'tokens a window (default: 512)', whole(2))
    .option('--windows <n>', 'windows at most (default: 20)', whole(1))
    .option('--every <n>', 'take every n-th window of the text (default: 1)', whole(1))
}

interface Flags extends Omit<CompressOptions, 'source' | 'calibration'> {
  calib?: string[]
}

/** The options of the API from those that were typed; what was not typed keeps its default there. */
export function toOptions(source: string, { calib, ...flags }: Flags): CompressOptions {
  return { ...flags, source, ...(calib ? { calibration: calib } : {}) }
}

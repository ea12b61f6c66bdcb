/** `pare convert`: the same model in another format, in a thread of its own, so that Ctrl-C is heard at any moment. */
import { type Command, Option } from 'commander'
import type { ConversionReport } from '../run/convert/conversion_report.ts'
import { ownFormatNames } from '../run/convert/convert_formats.ts'
import { choosableFormats, targetNames } from '../run/targets.ts'
import { groupSize, size, whole } from './arguments.ts'
import { conversionText } from './conversion_text.ts'
import { addRunFlags, modelArgument } from './flags.ts'
import { runJob } from './job.ts'
import { showJson } from './show_json.ts'

const examples = `
Examples:
  pare convert model-gptq --target mlx --output model-mlx
      the codes of a GPTQ checkpoint in an MLX folder: nothing is rounded to new levels
  pare convert model.gguf --target transformers --lossless --output model-ct
      only where every value stays as it is; else nothing is written
  pare convert model-awq --target transformers --type bf16 --output model-bf16
      plain numbers, to quantise again elsewhere
  pare convert model-bf16 --target llama.cpp --scheme Q8_0 --output model-gguf
      rounded to nearest; pare compress does better below 8 bits
  pare convert all-MiniLM-L6-v2 --target onnx --type f16 --output minilm-onnx
      a text encoder for onnxruntime, in half floats; --target transformers.js and pare take encoders too
  pare convert efficientnet-lite0 --target onnx --output lite0-onnx
      a classifier of images: the torch file of EfficientNet-Lite0, or a folder that pare train wrote

What every weight became stands in the report: lossless, codes kept (scales rounded to another type), rounded (numbers), or
requantised (codes to other codes: a warning). It is what a reader of the result finds, compared with the source.`

interface ConvertFlags {
  json?: boolean
  all?: boolean
  threads?: number
}

export function addConvert(pare: Command): void {
  const command = pare
    .command('convert')
    .description(
      'Write a model in another format. Codes stay codes where the formats agree, and the report says what changed.',
    )
    .argument('<model>', modelArgument)
    .addHelpText('after', examples)
    .optionsGroup('Result:')
    .addOption(
      new Option('--target <name>', 'program or format that reads the result')
        .choices(targetNames)
        .makeOptionMandatory(),
    )
    .addOption(
      new Option(
        '--format <name>',
        'layout of the files: for vllm and transformers as in pare compress, or float (plain numbers), aqlm, and for transformers spqr (default: compressed-tensors)',
      ).choices([...choosableFormats, ...ownFormatNames]),
    )
    .requiredOption('--output <folder>', 'where the result goes: a folder that is empty or does not exist')
    .option('--overwrite', 'replace the output folder with all that is in it, once the result is whole')
    .option(
      '--shard-size <size>',
      'weights in one safetensors file at most, such as 5GB or 500MB (default: 5GB)',
      size,
    )
    .optionsGroup('Values:')
    .option(
      '--lossless',
      'exit code 4 and no output where any value would differ; takes wider codes where only these keep every value',
    )
    .addOption(
      new Option(
        '--type <type>',
        'every weight as plain numbers of this type, in a folder or a GGUF file (default: codes stay codes)',
      ).choices(['f32', 'f16', 'bf16']),
    )
    .addOption(
      new Option(
        '--activations <type>',
        'what the network computes in, F32 or F16; F16 takes --type f16, and logits differ by some 1e-3 of the largest. For onnx and transformers.js (default: F32)',
      ).choices(['F32', 'F16']),
    )
    .option(
      '--scheme <type>',
      'block type or mix of a GGUF file, such as Q8_0 or Q4_K_M: what is stored otherwise is rounded to nearest (default: types that hold the codes of the source)',
    )
    .option(
      '--bits <n>',
      '2, 3, 4 or 8 bits a code: what is stored otherwise is rounded to nearest (default: those of the source)',
      whole(1),
    )
    .option(
      '--group-size <n>',
      'inputs that share a scale, from 1, or "row"; groups of the source that are made of these keep their codes (default: those of the source)',
      groupSize,
    )
    .option('--symmetric', 'no zero is stored (default: as in the source)')
    .option('--search', 'search a narrower range for every group that is rounded')
  command
    .optionsGroup('Running:')
    .option('--all', 'a line for every weight, where layers that repeat are one line without it')
  addRunFlags(command, 'the report as JSON', { threads: true }).action(
    async (model: string, { json, all, threads, ...flags }: ConvertFlags & Record<string, unknown>) => {
      const report = await runJob<ConversionReport>({
        job: 'convert',
        options: { source: model, ...flags },
        threads,
        quiet: json,
      })
      if (json) showJson(report)
      else process.stdout.write(`${conversionText(report, { all: all === true })}\n`)
    },
  )
}

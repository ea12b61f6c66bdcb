/** How the programs of a target load its result: a line of shell, Python or JavaScript for each, for the model card. */
import type { FamilyName } from '../models/families.ts'
import type { CompressionReport } from './report.ts'

type Line = (result: { file: string | undefined; family: FamilyName }) => string

/** `FOLDER` stands for where the files of the card are. Packages that a program loads the format with have no line. */
const lines: Readonly<Record<string, Line>> = {
  vLLM: () => 'vllm serve FOLDER',
  transformers: () => 'AutoModelForCausalLM.from_pretrained("FOLDER")',
  'llama.cpp': ({ file = 'model.gguf' }) => `llama-cli -m FOLDER/${file}`,
  'mlx-lm': () => 'mlx_lm.generate --model FOLDER --prompt "Hello"',
  'transformers.js': ({ family }) =>
    `await pipeline('${family === 'bert' ? 'feature-extraction' : 'text-generation'}', 'FOLDER')`,
  onnxruntime: ({ file = 'model.onnx' }) => `onnxruntime.InferenceSession("FOLDER/${file}")`,
}

/** Who reads the targets that are formats and name no program. */
const usual: Readonly<Record<string, string>> = { gguf: 'llama.cpp', gptq: 'transformers' }

/**
 * A line of Markdown for each program; none for a target that nobody knows.
 *
 * @example loadingLines(report, 'llama') // ['- vLLM: `vllm serve FOLDER`']
 */
export function loadingLines(report: CompressionReport, family: FamilyName): string[] {
  if (report.target === 'pare') return ['- Pare: `pare eval FOLDER`, or `openModel` from code']
  const file = report.files.find((name) => /^[\w./-]+\.(?:gguf|onnx)$/.test(name))
  const names = [
    ...(report.programs ?? []).map(({ name }) => name),
    Object.hasOwn(usual, report.target) ? usual[report.target]! : '',
  ]
  return [...new Set(names)].flatMap((name) =>
    Object.hasOwn(lines, name) ? [`- ${name}: \`${lines[name]!({ file, family })}\``] : [],
  )
}

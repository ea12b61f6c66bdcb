// A server of Pare, and lm_eval as docs/serve.md calls it, with what it logged.
import { spawn, spawnSync } from 'node:child_process'
import { mkdirSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { basename, join } from 'node:path'
import { fileURLToPath } from 'node:url'

/** Where the paths of the page and of the tasks begin. */
export const root = fileURLToPath(new URL('../..', import.meta.url))
const pare = join(root, 'bin/pare.js')

/** `pare serve` of a model on a free port, once it answers. */
export function serveModel(model) {
  // A key of the user's own would be asked for.
  const env = { ...process.env, PARE_API_KEY: undefined }
  const server = spawn(process.execPath, [pare, 'serve', model, '--port', '0', '--json'], { cwd: root, env })
  let [written, said] = ['', '']
  server.stderr.setEncoding('utf8').on('data', (text) => {
    said += text
  })
  const ended = new Promise((resolve) => server.on('close', resolve))
  const stop = () => {
    server.kill('SIGTERM')
    return ended
  }
  return new Promise((resolve, reject) => {
    ended.then((status) => reject(new Error(`pare serve ${model} ended with ${status}:\n${said}`)))
    server.stdout.setEncoding('utf8').on('data', (text) => {
      written += text
      // The JSON is over several lines; the last one closes it.
      if (!written.endsWith('\n}\n')) return
      const { url, model: name, context_length: context } = JSON.parse(written)
      resolve({ url, name, context, stop })
    })
  })
}

/** The words of the command of docs/serve.md, without its program. */
function pageCommand() {
  const page = readFileSync(join(root, 'docs/serve.md'), 'utf8')
  const found = /^lm_eval (--model (?:.*\\\n)*.*)$/m.exec(page)
  if (!found)
    throw new Error('docs/serve.md: a command that begins with `lm_eval --model` is needed, it has none')
  return found[1].replaceAll('\\\n', ' ').trim().split(/\s+/)
}

const fieldsOf = (text) => Object.fromEntries(text.split(',').map((field) => field.split(/=(.*)/s)))
const textOf = (fields) =>
  Object.entries(fields)
    .map(([name, value]) => `${name}=${value}`)
    .join(',')

/**
 * Runs the command of the page with another model, server and place for its results.
 *
 * @param fields of --model_args, beside those of the page or in their place
 * @param tasks in the place of those of the page
 * @param more arguments behind those of the page
 * @returns exit status, all that was printed, the samples of each task in the order of its documents, and the results
 */
export function runHarness({ python, work, title, fields, tasks, more = [] }) {
  const output = join(work, title.replaceAll(/\W+/g, '-'))
  rmSync(output, { recursive: true, force: true })
  mkdirSync(output, { recursive: true })
  const words = pageCommand()
  const place = (option) => words.indexOf(option) + 1
  words[place('--output_path')] = output
  // A second --tasks would add to the first.
  if (tasks) words[place('--tasks')] = tasks
  words[place('--model_args')] = textOf({ ...fieldsOf(words[place('--model_args')]), ...fields })
  const { status, stdout, stderr, error } = spawnSync(python, ['-m', 'lm_eval', ...words, ...more], {
    cwd: root,
    encoding: 'utf8',
    maxBuffer: 2 ** 28,
    // Nothing is fetched: tokenizer and documents lie here.
    env: { ...process.env, HF_HOME: join(work, 'hf'), HF_HUB_OFFLINE: '1', HF_DATASETS_OFFLINE: '1' },
  })
  const printed = `${stdout ?? ''}${stderr ?? ''}${error ?? ''}`
  if (status !== 0) return { status, printed, samples: {}, results: {} }
  const files = readdirSync(output, { recursive: true }).map((name) => join(output, name))
  const textOfFile = (start) =>
    readFileSync(files.find((name) => basename(name).startsWith(start)) ?? join(output, start), 'utf8')
  const { results } = JSON.parse(textOfFile('results_'))
  const samples = {}
  for (const task of Object.keys(results))
    samples[task] = textOfFile(`samples_${task}_`)
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line))
      .sort((a, b) => a.doc_id - b.doc_id)
  return { status, printed, samples, results }
}

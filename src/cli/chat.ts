/** `pare chat`: a model in the terminal, or one answer to a text from a pipe. */
import type { Command } from 'commander'
import { fetchProgress } from '../run/evaluate.ts'
import { FormatError } from '../tensor/errors.ts'
import { between, share, whole } from './arguments.ts'
import { ChatSession } from './chat_session.ts'
import { chatInTerminal } from './chat_terminal.ts'
import { addRunFlags, modelArgument } from './flags.ts'
import { addGeneratorFlags, type GeneratorFlags, generatorOptions, namedByFlag } from './generator_flags.ts'
import { interruptible } from './interrupt.ts'
import { pipedText } from './piped_text.ts'
import { jsonText } from './show_json.ts'
import { terminalProgress } from './terminal.ts'

const examples = `
Examples:
  pare chat smaller                                  in the terminal; /help lists what can be typed
  pare chat model.gguf --packed int8                 weights stay as they are stored, products with 8-bit inputs
  echo "What is a whale?" | pare chat model.gguf     one answer on stdout
  pare chat base.gguf --raw < beginning.txt          goes on with a text, without a chat template`

interface Flags extends GeneratorFlags {
  system?: string
  raw?: boolean
  maxTokens?: number
  temperature?: number
  topK?: number
  topP?: number
  minP?: number
  repetitionPenalty?: number
  seed?: number
  ignoreEnd?: boolean
  chatTemplate?: string
  threads?: number
  offline?: boolean
  json?: boolean
}

export function addChat(pare: Command): void {
  const command = pare
    .command('chat')
    .description('Talk with a model in the terminal.')
    .argument('<model>', modelArgument)
    .addHelpText('after', examples)
    .optionsGroup('Chat:')
    .option('--system <text>', 'first message of the chat (default: none, or what the template has)')
    .option(
      '--chat-template <file>',
      'Jinja template, for models without one or to replace it (default: that of the model)',
    )
    .option(
      '--raw',
      'without a template: texts are continued as they are, for models that were not made for chats (default: off)',
    )
    .optionsGroup('Text:')
    .option(
      '--max-tokens <n>',
      'tokens of an answer at most (default: as many as the context has room for)',
      whole(1),
    )
    .option(
      '--temperature <t>',
      '0 to 100; 0 takes the likeliest token always, more draws unlikelier ones (default: as the model says, else 1)',
      between(0, 100),
    )
    .option(
      '--top-k <n>',
      'draw from so many of the likeliest tokens; 0 from all (default: as the model says, else 0)',
      whole(0),
    )
    .option(
      '--top-p <p>',
      'draw from the likeliest tokens with this share together, above 0 to 1 (default: as the model says, else 1)',
      share,
    )
    .option(
      '--min-p <p>',
      'leave out tokens below this share of the likeliest, 0 to 1 (default: as the model says, else 0)',
      between(0, 1),
    )
    .option(
      '--repetition-penalty <x>',
      '0.01 to 100; above 1 makes tokens rarer that were there before (default: as the model says, else 1)',
      between(0.01, 100),
    )
    .option('--ignore-end', 'write on behind the tokens that end an answer (default: off)')
    .option('--seed <n>', 'the same seed writes the same texts (default: another one each time)', whole(0))
  addGeneratorFlags(command)
  addRunFlags(command, 'answer of a pipe and what it cost as JSON on stdout; errors as JSON on stderr', {
    threads: true,
  }).action(chat)
}

async function chat(source: string, flags: Flags): Promise<void> {
  const { system, raw = false, json = false, chatTemplate, threads, offline } = flags
  const piped = process.stdin.isTTY !== true
  const { show, stop } = terminalProgress({ quiet: json })
  // What it needs is loaded with it: other commands start without.
  const { loadServedModel } = await import('../server/load_served_model.ts')
  const load = (signal: AbortSignal) =>
    loadServedModel(
      { source, chatTemplate, threads, offline, generator: { ...generatorOptions(flags), slots: 1 } },
      { signal, progress: fetchProgress(show) },
    )
  const loaded = await interruptible(load)
    .finally(stop)
    .catch((error) => {
      throw namedByFlag(error)
    })
  try {
    const { language, id } = loaded.served
    if (!language)
      throw new FormatError(`${id}: is a text encoder, which writes no texts; chat with a language model`, {
        code: 'PARE_E_NO_LANGUAGE_MODEL',
      })
    if (!language.template && !raw)
      throw new FormatError(
        `${id}: has no chat template; name one by --chat-template FILE, or let it continue texts by --raw`,
        { code: 'PARE_E_NO_TEMPLATE' },
      )
    const { generator, tokenizer, template, defaults } = language
    const { maxTokens, temperature, topK, topP, minP, repetitionPenalty, seed, ignoreEnd } = flags
    const typed = { maxTokens, temperature, topK, topP, minP, repetitionPenalty, seed, ignoreEnd, system }
    const given = Object.fromEntries(Object.entries(typed).filter(([, value]) => value !== undefined))
    const session = new ChatSession(
      { generator, tokenizer, template: raw ? undefined : template },
      { ...defaults, ...given },
    )
    process.exitCode = piped
      ? await interruptible((signal) => answerPipe(session, json, signal))
      : await chatInTerminal(session)
  } finally {
    await loaded.close()
  }
}

/** One answer to all of stdin. */
async function answerPipe(session: ChatSession, json: boolean, signal: AbortSignal): Promise<number> {
  let all = ''
  for await (const piece of session.answer(await pipedText(process.stdin, signal), signal)) {
    if (json) all += piece
    else process.stdout.write(piece)
  }
  process.stdout.write(json ? `${jsonText({ text: all, ...session.cost })}\n` : '\n')
  return signal.aborted ? 130 : 0
}

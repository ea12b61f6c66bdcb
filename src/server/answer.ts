/** Answers of the two endpoints that write texts: what they share, as a whole and as a stream. */
import { randomUUID } from 'node:crypto'
import type { GenerationRequest } from '../generate/generation.ts'
import type { ServedModel } from './served_model.ts'
import type { TextEvent } from './text_run.ts'

/** How a request is answered. */
export interface Answer {
  requests: readonly GenerationRequest[]
  /** Of all prompts, each once. */
  promptTokens: number
  /** Names of the objects. */
  object: { whole: string; chunk: string }
  /** Beginning of its id. */
  id: string
  /** Takes all events, then gives the choices. */
  collect(): { add(event: TextEvent): void; choices(): object[] }
  /** What one event adds to a stream. */
  chunks(event: TextEvent): object[]
}

/** Fields that all objects of one answer have alike. */
export interface AnswerFacts {
  id: string
  /** Seconds since 1970. */
  created: number
  model: string
  system_fingerprint: string
}

const answerFacts = (answer: Answer, model: ServedModel): AnswerFacts => ({
  id: `${answer.id}${randomUUID().replaceAll('-', '')}`,
  created: Math.floor(Date.now() / 1000),
  model: model.id,
  system_fingerprint: model.fingerprint,
})

const usage = (prompt_tokens: number, completion_tokens: number) => ({
  prompt_tokens,
  completion_tokens,
  total_tokens: prompt_tokens + completion_tokens,
})

/** The whole answer, when all texts are at their end. */
export async function wholeAnswer(
  answer: Answer,
  model: ServedModel,
  events: AsyncIterable<TextEvent>,
): Promise<object> {
  const { id, created, ...facts } = answerFacts(answer, model)
  const choices = answer.collect()
  let tokens = 0
  for await (const event of events) {
    choices.add(event)
    if (event.event.kind === 'end') tokens += event.event.tokens
  }
  return {
    id,
    object: answer.object.whole,
    created,
    ...facts,
    choices: choices.choices(),
    usage: usage(answer.promptTokens, tokens),
  }
}

/** The chunks of a stream; the last one has the usage, where it was asked for. */
export async function* chunkedAnswer(
  answer: Answer,
  model: ServedModel,
  events: AsyncIterable<TextEvent>,
  { includeUsage }: { includeUsage: boolean },
): AsyncGenerator<object, void, void> {
  const { id, created, ...facts } = answerFacts(answer, model)
  const chunk = (choices: object[], used: object | null) => ({
    id,
    object: answer.object.chunk,
    created,
    ...facts,
    choices,
    ...(includeUsage ? { usage: used } : {}),
  })
  let tokens = 0
  for await (const event of events) {
    for (const choice of answer.chunks(event)) yield chunk([choice], null)
    if (event.event.kind === 'end') tokens += event.event.tokens
  }
  if (includeUsage) yield chunk([], usage(answer.promptTokens, tokens))
}

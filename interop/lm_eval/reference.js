// Pare's own log-likelihoods, in this process: no server, no generator, no keys and values that are kept.
import { languageMetrics } from '../../dist/metrics/language.js'
import { openLanguageModel } from '../../dist/models/load_model.js'
import { scope } from '../../dist/tensor/index.js'

/** Natural logarithm of the softmax of logits at `id`, and whether no logit is larger. */
function chanceOf(logits, id) {
  let most = Number.NEGATIVE_INFINITY
  for (const logit of logits) if (logit > most) most = logit
  let sum = 0
  for (const logit of logits) sum += Math.exp(logit - most)
  return { logprob: logits[id] - most - Math.log(sum), greedy: logits[id] === most }
}

export class Reference {
  #open
  #tokenizer
  #model

  constructor(path) {
    this.#open = openLanguageModel(path)
    this.#tokenizer = this.#open.tokenizer()
  }

  /** The token that stands in front of a text that nothing comes before. */
  get begin() {
    return this.#tokenizer.bosId ?? this.#tokenizer.eosIds[0]
  }

  encode(text) {
    return [...this.#tokenizer.encode(text, { addSpecialTokens: false })]
  }

  /** Readable text of a token. */
  token(id) {
    return this.#tokenizer.tokenText(id)
  }

  /**
   * Log-likelihood of a continuation, and whether each of its tokens is the most likely one. lm_eval moves blanks at the end
   * of a context into the continuation, encodes both as one text, and cuts it behind as many tokens as the context has.
   */
  continuation(context, text) {
    const kept = context.trimEnd()
    const whole = this.encode(context + text)
    if (context === '') return this.#tail([this.begin, ...whole], 1)
    return this.#tail(whole, this.encode(kept).length)
  }

  #tail(ids, from) {
    this.#model ??= this.#open.model.load()
    const vocabulary = this.#open.model.config.vocabulary
    const logits = scope(() => this.#model.forward(Uint32Array.from(ids)).toArray())
    let [sum, greedy] = [0, true]
    for (let i = from; i < ids.length; i++) {
      const chance = chanceOf(logits.subarray((i - 1) * vocabulary, i * vocabulary), ids[i])
      sum += chance.logprob
      greedy &&= chance.greedy
    }
    return { logprob: sum, greedy, tokens: ids.length }
  }

  /**
   * Log-likelihood of all tokens of a text, in windows as lm_eval cuts them for a context of so many tokens, by what
   * `pare eval` runs. Each prediction counts once; the last window begins earlier, so that it is as long as the others.
   */
  async passage(text, context) {
    const ids = [this.begin, ...this.encode(text)]
    // One place is for the token that the request asks for, one for the token in front.
    const most = context - 2
    let total = 0
    for (let done = 0; done < ids.length - 1; ) {
      const end = Math.min(done + most, ids.length - 1)
      const start = Math.max(0, end - most)
      const windows = [Uint32Array.from(ids.slice(start, end + 1))]
      const metrics = await languageMetrics({
        model: this.#open.model,
        windows: { protocol: 'lm_eval', windows, firstScored: done - start },
      })
      total -= metrics.tokens * Math.log(metrics.perplexity)
      done = end
    }
    return { logprob: total, tokens: ids.length }
  }

  close() {
    this.#open.close()
  }
}

/** What every model is asked when it is verified. A change here makes what reports recorded before incomparable. */
import type { ChatMessage } from '../../formats/tokenizer/chat_template.ts'

/** Named in records, so that those of other texts are told apart. */
export const textsVersion = 1

/** Tokens of `passage` that logits are compared on, at most. */
export const comparedTokens = 64

/** More than 64 tokens in any vocabulary at hand: prose, numbers, code and another language. */
export const passage =
  'The harbour master wrote down every ship that came in. In the year 1874 there were 212 of them, most with coal. ' +
  'def area(r):\n    return 3.14159 * r ** 2\n' +
  'Der Hafenmeister schrieb jedes Schiff auf, das einlief. Question: What is the capital of France? Answer: Paris.'

/** Scripts, digits, white space, marks that combine, emoji of several code points, and spellings of special tokens. */
export const multilingual = [
  'The quick brown fox jumps over 13 lazy dogs, 1234567890 times; naïve café — “quotes” … 3.14e-10.',
  '\tdef f(x):\n\t\treturn x  **  2\r\n   # trailing blanks   ',
  '快速的棕色狐狸跳过了懒狗。東京タワーは333メートルです。다람쥐 헌 쳇바퀴에 타고파.',
  'السلام عليكم، كيف حالك؟ שָׁלוֹם עוֹלָם हिन्दी में एक वाक्य है। ภาษาไทยไม่มีช่องว่าง',
  'Съешь же ещё этих мягких французских булок. Ξεσκεπάζω την ψυχοφθόρα βδελυγμία. Tiếng Việt có dấu.',
  // Decomposed, composed, and as ligatures and wide letters that normalisation changes.
  'e\u0301 \u00e9 A\u030a \u00c5 \u1e9b\u0323 \ufb01 \u2460 \uff21\uff22 \u00bd',
  '🙂 👩‍👩‍👧‍👦 🏳️‍🌈 🇩🇪 👍🏽 ❤️ 𝔘𝔫𝔦𝔠𝔬𝔡𝔢',
  'zero\u200bwidth soft\u00adhyphen no\u00a0break \u2028line \ufeffmark \u0001\u007f',
  '<s>[INST] a </s> <|im_start|>user<|im_end|> <|endoftext|> <|begin_of_text|> [CLS] [MASK] [SEP] <unk> <pad>',
  "don't DON'T I'LL we've x'y   --   __init__ https://example.org/a?b=c#d user@example.org",
].join('\n')

/** A conversation with a turn of every usual role. */
export const conversation: readonly ChatMessage[] = [
  { role: 'system', content: 'You are a terse assistant.' },
  { role: 'user', content: 'What is 2 + 2?' },
  { role: 'assistant', content: '4.' },
  { role: 'user', content: '  And <b>3 × 3</b>?\nنعم 🙂 ' },
]

/** Tokens of sentences that run through an encoder at once, at most, where a sentence alone has fewer. */
export const embeddedTokens = 512

/** Sentences that text encoders embed. */
export const sentences = [
  'A cat sits on the mat.',
  'The dog runs across the field after a ball.',
  'In 1874 the harbour had 212 ships, most of them with coal.',
  'Le chat est assis sur le tapis, et il pleut.',
  multilingual,
] as const

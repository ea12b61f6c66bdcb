/** How near the vectors of one encoder are to those of another on the same texts. */

export interface EmbeddingMetrics {
  /** Mean over texts of the cosine between the two vectors of a text. */
  meanCosine: number
  /** The least of them. */
  leastCosine: number
  /** Texts that were embedded. */
  texts: number
}

/**
 * @param found a vector for each text
 * @param wanted vectors of the same texts, as long
 * @example compareVectors(embedTexts(result, texts), embedTexts(source, texts)).meanCosine
 */
export function compareVectors(
  found: readonly Float32Array[],
  wanted: readonly Float32Array[],
): EmbeddingMetrics {
  const cosines = found.map((vector, i) => cosine(vector, wanted[i]!))
  return {
    meanCosine: cosines.reduce((sum, value) => sum + value, 0) / cosines.length,
    leastCosine: Math.min(...cosines),
    texts: cosines.length,
  }
}

/** a . b / (|a| |b|) in f64; 1 where both are zeros, 0 where one is. */
function cosine(a: Float32Array, b: Float32Array): number {
  let [dot, ofA, ofB] = [0, 0, 0]
  for (const [i, x] of a.entries()) {
    dot += x * b[i]!
    ofA += x * x
    ofB += b[i]! * b[i]!
  }
  if (ofA === 0 || ofB === 0) return ofA === ofB ? 1 : 0
  return dot / Math.sqrt(ofA * ofB)
}

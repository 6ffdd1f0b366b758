'use strict';
// The texts of a column in one string, which takes a fraction of the memory of many.

class Texts {
  #text;
  #ends;
  /** @type {{ text: string, ends: Uint32Array } | null} the same in lower case */
  #lower = null;

  /** @param {string} text of all rows @param {ArrayLike<number>} ends where each row's text ends */
  constructor(text, ends) {
    this.#text = text;
    this.#ends = ends;
  }

  get length() {
    return this.#ends.length;
  }

  /** @param {number} row @returns {string | null} null if it is missing */
  at(row) {
    return this.#text.slice(row ? this.#ends[row - 1] : 0, this.#ends[row]) || null;
  }

  /** 1 for each row whose text contains another one, in upper or lower case.
   * @param {string} wanted in lower case, not empty */
  containing(wanted) {
    const { text, ends } = (this.#lower ??= this.#lowered());
    const found = new Uint8Array(ends.length);
    let row = 0;
    for (let at = text.indexOf(wanted); at >= 0; ) {
      while (ends[row] <= at) row++;
      const fits = at + wanted.length <= ends[row]; // else it reaches into the next row
      if (fits) found[row] = 1;
      at = text.indexOf(wanted, fits ? ends[row] : at + 1);
    }
    return found;
  }

  #lowered() {
    const ends = new Uint32Array(this.length);
    const parts = [];
    for (let row = 0, end = 0; row < ends.length; row++) {
      const part = this.at(row)?.toLowerCase() ?? '';
      parts.push(part);
      ends[row] = end += part.length;
    }
    return { text: parts.join(''), ends };
  }
}

'use strict';
// Sorts rows by numbers. A radix sort: with a function that compares, a million rows take a second.

const Sorting = (() => {
  /** All rows by ascending value, equal ones by row, missing ones (NaN) last.
   * @param {ArrayLike<number>} values @returns {Int32Array} */
  function rowsBy(values) {
    const n = values.length;
    const isShort = values instanceof Float32Array || values instanceof Uint8Array ||
      values instanceof Uint16Array;
    const keys = new (isShort ? Float32Array : Float64Array)(n);
    const digits = new Uint16Array(keys.buffer); // the least significant one first
    const each = digits.length / n;
    for (let row = 0; row < n; row++) {
      const value = (keys[row] = values[row] + 0); // of two zeros, one
      const top = each * (row + 1) - 1;
      // As integers, negative floating-point numbers are in descending order.
      if (value !== value) digits.fill(0xffff, each * row, top + 1);
      else if (value >= 0) digits[top] ^= 0x8000;
      else for (let i = each * row; i <= top; i++) digits[i] ^= 0xffff;
    }
    let rows = Int32Array.from({ length: n }, (_, row) => row);
    let next = new Int32Array(n);
    const starts = new Int32Array(65537);
    for (let digit = 0; digit < each; digit++) {
      starts.fill(0);
      for (let i = digit; i < digits.length; i += each) starts[digits[i] + 1]++;
      for (let i = 0; i < 65536; i++) starts[i + 1] += starts[i];
      for (let i = 0; i < n; i++) next[starts[digits[each * rows[i] + digit]]++] = rows[i];
      [rows, next] = [next, rows];
    }
    return rows;
  }

  return { rowsBy };
})();

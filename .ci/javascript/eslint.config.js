// The files of the page are plain scripts. Each declares the names of other files that it needs in
// a comment /* global ... */: `no-undef` reports a name that is not declared, `no-unused-vars` a
// declared name that is not used.
import js from '@eslint/js';
import globals from 'globals';

export default [
  { ignores: ['**/vendor/'] },
  js.configs.recommended,
  {
    languageOptions: { sourceType: 'script', globals: globals.browser },
    linterOptions: { reportUnusedDisableDirectives: 'error' },
    // A file's own name, such as Filters, is used by other files.
    rules: { 'no-unused-vars': ['error', { varsIgnorePattern: '^[A-Z][a-z]\\w*$' }] },
  },
];

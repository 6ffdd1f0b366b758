'use strict';
// The last script: everything is there, so the explorer can start.
window.explorer.start();

'use strict';
/* global Clusters, Explore, Findings, Models, Photograph, Samples, Shell */
// The last script: all others have been loaded.

Shell.start([Explore, Samples, Clusters, Findings, Models, Photograph]);
